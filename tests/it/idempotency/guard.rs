//! The ways in which a handler can end, and how they affect retries.

use std::{
    future::pending, panic::AssertUnwindSafe, pin::pin, sync::atomic::Ordering, time::Duration,
};

use axum::{Router, http::StatusCode};
use soundhash_webhook::idempotency::IdempotencyLayer;
use tokio::{
    runtime::Builder,
    task::yield_now,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use super::support::{
    DUPLICATE, Ends, Faulty, IN_PROGRESS, RUN, Runs, StatusAndKind, app, event, layer, send,
};

const SECOND: Duration = Duration::from_secs(1);

/// Sends the event from a new task, and waits until the handler has started.
async fn start(app: &Router, runs: &Runs) -> tokio::task::JoinHandle<StatusAndKind> {
    let (app, before) = (app.clone(), runs.count());
    let task = tokio::spawn(async move { send(&app, event("a")).await });
    while runs.count() == before {
        yield_now().await;
    }
    task
}

#[tokio::test]
async fn only_2xx_completes() {
    for status in [
        200, 201, 202, 204, 299, 302, 304, 400, 404, 409, 429, 500, 503,
    ] {
        let runs = Runs::default();
        let status = StatusCode::from_u16(status).unwrap();
        let app = app(layer(), runs.then(move |_| async move { status }));
        assert_eq!(send(&app, event("a")).await, (status.as_u16(), None));
        let retry = send(&app, event("a")).await;
        if status.is_success() {
            assert_eq!(retry, DUPLICATE);
        } else {
            assert_eq!(retry, (status.as_u16(), None));
            assert_eq!(runs.count(), 2);
        }
    }
}

async fn panics() -> StatusCode {
    panic!("the first run panics")
}

async fn half_a_minute() -> StatusCode {
    sleep(30 * SECOND).await;
    StatusCode::OK
}

#[tokio::test]
async fn a_handler_that_panics_is_run_again() {
    for detach in [false, true] {
        let runs = Runs::default();
        let app = app(layer().detach(detach), runs.first(panics));
        let first = start(&app, &runs).await.await.unwrap_err().into_panic();
        assert_eq!(*first.downcast::<&str>().unwrap(), "the first run panics");
        assert_eq!(send(&app, event("a")).await, RUN);
        assert_eq!(send(&app, event("a")).await, DUPLICATE);
    }
}

/// Middleware that catches the panic may retry immediately.
#[tokio::test]
async fn after_a_panic_the_event_is_free_at_once() {
    let app = app(layer(), Runs::default().first(panics));
    let mut first = Box::pin(send(&app, event("a")));
    let caught = std::future::poll_fn(|cx| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| first.as_mut().poll(cx)));
        std::task::Poll::Ready(poll.map(drop))
    });
    assert!(caught.await.is_err());
    assert_eq!(send(&app, event("a")).await, RUN);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_canceled_runs_again() {
    let runs = Runs::default();
    let app = app(layer(), runs.first(half_a_minute));
    assert!(timeout(SECOND, send(&app, event("a"))).await.is_err());
    // The event is free immediately, although nothing awaited the release.
    assert_eq!(send(&app, event("a")).await, RUN);
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);
}

/// The store takes a second to release the event.
#[tokio::test(start_paused = true)]
async fn a_release_continues_after_the_handler_is_dropped() {
    let mut store = Faulty::new();
    store.delay = SECOND;
    let handler = Runs::default().first(half_a_minute);
    let app = app(IdempotencyLayer::new(store), handler);
    assert!(timeout(SECOND, send(&app, event("a"))).await.is_err());
    assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
    sleep(2 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, RUN);
}

/// The handler succeeded, so the event is completed even if the sender hangs up while the store is
/// recording it.
#[tokio::test(start_paused = true)]
async fn a_completion_continues_after_the_handler_is_dropped() {
    let runs = Runs::default();
    let mut store = Faulty::new();
    store.delay = 2 * SECOND;
    let app = app(IdempotencyLayer::new(store), runs.handler());
    assert!(timeout(SECOND, send(&app, event("a"))).await.is_err());
    assert_eq!(runs.count(), 1);
    sleep(5 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_to_its_end() {
    let runs = Runs::default();
    let app = app(
        layer().detach(true),
        runs.then(|_| async {
            sleep(40 * SECOND).await;
            StatusCode::OK
        }),
    );
    assert!(timeout(30 * SECOND, send(&app, event("a"))).await.is_err());
    assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
    sleep(11 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
    // A sender that waits gets the handler's response.
    assert_eq!(send(&app, event("b")).await, RUN);
}

// ---- leases

/// When a slow first run finally ends, it must not end the second run's claim.
#[tokio::test(start_paused = true)]
async fn a_run_that_outlived_its_lease_changes_nothing() {
    for first_status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let runs = Runs::default();
        let app = app(
            layer().lease(60 * SECOND),
            runs.then(move |run| async move {
                // The first run ends after 90 s, and the second after 120 s.
                sleep(if run == 1 { 90 * SECOND } else { 55 * SECOND }).await;
                if run == 1 {
                    first_status
                } else {
                    StatusCode::OK
                }
            }),
        );
        let first = start(&app, &runs).await;
        sleep(59 * SECOND).await;
        assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
        sleep(6 * SECOND).await;
        let second = start(&app, &runs).await;
        assert_eq!(first.await.unwrap(), (first_status.as_u16(), None));
        assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
        assert_eq!(second.await.unwrap(), RUN);
        assert_eq!(send(&app, event("a")).await, DUPLICATE);
        assert_eq!(runs.count(), 2);
    }
}

/// SoundHash's retry job can repeat an event for days. Each duplicate restarts the retention
/// period.
#[tokio::test(start_paused = true)]
async fn an_event_runs_again_when_it_was_not_repeated_for_the_retention() {
    let hour = 3600 * SECOND;
    let app = app(layer().retention(10 * hour), Runs::default().handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    for _ in 0..10 {
        sleep(9 * hour).await;
        assert_eq!(send(&app, event("a")).await, DUPLICATE);
    }
    sleep(11 * hour).await;
    assert_eq!(send(&app, event("a")).await, RUN);
}

#[test]
#[should_panic(expected = "lease must be greater than zero")]
fn a_lease_of_zero_panics() {
    let _ = layer().lease(Duration::ZERO);
}

// ---- a store that fails at the end

#[tokio::test(start_paused = true)]
async fn a_release_that_failed_is_retried() {
    let store = Faulty::new();
    store.ends_fail.store(3, Ordering::SeqCst);
    let handler = Runs::default().first(|| async { StatusCode::BAD_GATEWAY });
    let app = app(IdempotencyLayer::new(store), handler);
    assert_eq!(send(&app, event("a")).await, (502, None));
    sleep(5 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, RUN);
}

/// After the lease, the event can run again when SoundHash retries.
#[tokio::test(start_paused = true)]
async fn after_the_lease_the_layer_stops_retrying() {
    let runs = Runs::default();
    let store = Faulty::new();
    store.ends_fail.store(1000, Ordering::SeqCst);
    let app = app(IdempotencyLayer::new(store.clone()), runs.handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    sleep(59 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
    sleep(60 * SECOND).await;
    let left = store.ends_fail.load(Ordering::SeqCst);
    assert!(left > 950, "{left}");
    sleep(60 * SECOND).await;
    assert_eq!(store.ends_fail.load(Ordering::SeqCst), left);
    assert_eq!(send(&app, event("a")).await, RUN);
}

/// A runtime that shuts down drops running handlers, along with any tasks that they spawn on drop.
#[test]
fn a_shutdown_with_events_in_progress_ends() {
    for detach in [false, true] {
        let threads = [Builder::new_current_thread(), Builder::new_multi_thread()];
        for mut runtime in threads {
            let runtime = runtime.enable_all().build().unwrap();
            let runs = Runs::default();
            let layer = IdempotencyLayer::new(Ends(pending)).detach(detach);
            let app = app(layer, runs.then(|_| pending::<StatusCode>()));
            runtime.block_on(async {
                drop(tokio::spawn(async move { send(&app, event("a")).await }));
                while runs.count() == 0 {
                    yield_now().await;
                }
            });
            drop(runtime);
        }
    }
}

/// A panic that escapes a destructor during another panic would abort the process.
#[tokio::test]
async fn a_store_that_panics_does_not_panic_in_a_destructor() {
    for is_panic in [false, true] {
        let runs = Runs::default();
        let app = app(
            IdempotencyLayer::new(Ends(|| async { panic!("the store panics") })),
            runs.then(|_| pending::<StatusCode>()),
        );
        let outer = tokio::spawn(async move {
            let mut request = pin!(send(&app, event("a")));
            timeout(Duration::ZERO, &mut request).await.unwrap_err();
            assert!(!is_panic, "a middleware panics");
        });
        let panic = outer
            .await
            .err()
            .map(|error| *error.into_panic().downcast::<&str>().unwrap());
        assert_eq!(panic, is_panic.then_some("a middleware panics"));
        assert_eq!(runs.count(), 1);
    }
}

#[tokio::test]
async fn a_store_that_panics_at_the_end_changes_no_response() {
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        let runs = Runs::default();
        let store = Ends(|| async { panic!("the store panics") });
        let app = app(
            IdempotencyLayer::new(store),
            runs.then(move |_| async move { status }),
        );
        let Ok(response) = app.clone().oneshot(event("a")).await;
        assert_eq!(response.status(), status);
        assert_eq!(runs.count(), 1);
    }
}

/// The handler succeeded, so the sender gets 200. A store that recovers before the lease ends still
/// records that the event was completed.
#[tokio::test(start_paused = true)]
async fn a_completion_is_retried_until_the_lease_ends() {
    for away in [1, 54, 57, 59] {
        let (runs, store) = (Runs::default(), Faulty::new());
        store.ends_fail.store(usize::MAX, Ordering::SeqCst);
        let app = app(IdempotencyLayer::new(store.clone()), runs.handler());
        assert_eq!(send(&app, event("a")).await, RUN);
        assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
        sleep(Duration::from_secs(away)).await;
        store.ends_fail.store(0, Ordering::SeqCst);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(send(&app, event("a")).await, DUPLICATE, "{away}");
    }
}
