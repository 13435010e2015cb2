//! The counters and histograms for outcomes, leases and the store.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Router,
    http::{Request, StatusCode},
    routing::post,
};
use metrics_util::debugging::DebuggingRecorder;
use soundhash_webhook::idempotency::{
    IdempotencyLayer,
    OutcomeKind::{FromTheFuture, TooOld, Undated, Unverified},
};
use tokio::time::{sleep, timeout};

use super::counted::recorded;
use crate::idempotency::{
    layer::{MINUTE, at, at_nine},
    support::{
        DUPLICATE, Ends, Faulty, IN_PROGRESS, RUN, Runs, STORE_UNAVAILABLE, app, event, layer, send,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Returns this layer's metrics. A histogram's value is its number of samples.
fn metered(recorder: &DebuggingRecorder) -> Vec<(String, f64)> {
    let ours = ["handlers_skipped", "lease_lost", "not_recorded", "store"];
    let metered = recorded(recorder).into_iter().filter_map(|(name, values)| {
        let name = name.strip_prefix("soundhash_webhook_")?;
        if !ours.iter().any(|it| name.starts_with(it)) {
            return None;
        }
        let value = match name.starts_with("store_seconds") {
            true => values.iter().map(|_| 1.0).sum(),
            false => values[0],
        };
        Some((name.to_owned(), value))
    });
    metered.filter(|(_, value)| *value > 0.0).collect()
}

#[track_caller]
fn check(recorder: &DebuggingRecorder, expected: &[(&str, f64)]) {
    let metered = metered(recorder);
    let metered = metered.iter().map(|(name, n)| (name.as_str(), *n));
    assert_eq!(metered.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_run_of_the_handler_are_counted_by_reason() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (dated, _, _) = at_nine(layer().max_age(15 * MINUTE));
    let runs = Runs::default();
    for (request, outcome) in [
        (at("1", "2026-11-23T09:00:00Z"), RUN),
        (at("1", "2026-11-23T09:00:00Z"), DUPLICATE),
        (at("1", "2026-11-23T09:00:00Z"), DUPLICATE),
        (at("2", "2026-11-23T08:00:00Z"), (401, Some(TooOld))),
        (at("3", "2026-11-23T10:00:00Z"), (401, Some(FromTheFuture))),
        (event("4"), (401, Some(Undated))),
    ] {
        assert_eq!(send(&dated, request).await, outcome);
    }
    let open = Router::new().route("/", post(runs.handler()).layer(layer()));
    let unverified = Request::post("/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(send(&open, unverified).await, (500, Some(Unverified)));
    let mut store = Faulty::new();
    store.claims_fail.store(1, Ordering::SeqCst);
    store.delay = SECOND;
    let slow = app(IdempotencyLayer::new(store), runs.handler());
    assert_eq!(send(&slow, event("a")).await, STORE_UNAVAILABLE);
    // The request is dropped while the store is still recording that the event was completed.
    assert!(timeout(SECOND / 10, send(&slow, event("a"))).await.is_err());
    assert_eq!(send(&slow, event("a")).await, IN_PROGRESS);

    check(
        &recorder,
        &[
            ("handlers_skipped_total{reason=duplicate}", 2.0),
            ("handlers_skipped_total{reason=from_the_future}", 1.0),
            ("handlers_skipped_total{reason=in_progress}", 1.0),
            ("handlers_skipped_total{reason=store_unavailable}", 1.0),
            ("handlers_skipped_total{reason=too_old}", 1.0),
            ("handlers_skipped_total{reason=undated}", 1.0),
            ("handlers_skipped_total{reason=unverified}", 1.0),
            ("store_errors_total{operation=claim}", 1.0),
            ("store_seconds{operation=claim}", 6.0),
            // One of the two calls was dropped along with its request. The layer's retry has not
            // finished yet.
            ("store_seconds{operation=complete}", 2.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn steps_of_the_store_are_measured_and_their_failures_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let store = Faulty::new();
    let handler = Runs::default().first(|| async { StatusCode::BAD_GATEWAY });
    let app = app(IdempotencyLayer::new(store.clone()), handler);

    store.ends_fail.store(2, Ordering::SeqCst);
    assert_eq!(send(&app, event("a")).await, (502, None));
    // The layer retries twice, and only the second retry succeeds.
    sleep(5 * SECOND).await;
    check(
        &recorder,
        &[
            ("not_recorded_total{operation=release}", 1.0),
            ("store_errors_total{operation=release}", 2.0),
            ("store_seconds{operation=claim}", 1.0),
            ("store_seconds{operation=release}", 3.0),
        ],
    );

    store.ends_fail.store(1, Ordering::SeqCst);
    assert_eq!(send(&app, event("a")).await, RUN);
    sleep(5 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    check(
        &recorder,
        &[
            ("handlers_skipped_total{reason=duplicate}", 1.0),
            ("not_recorded_total{operation=complete}", 1.0),
            ("store_errors_total{operation=complete}", 1.0),
            ("store_seconds{operation=claim}", 2.0),
            ("store_seconds{operation=complete}", 2.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_outlived_its_lease_is_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let runs = Runs::default();
    let slow = runs.then(|_| async {
        sleep(2 * SECOND).await;
        StatusCode::OK
    });
    let app = app(layer().lease(SECOND), slow);
    assert_eq!(send(&app, event("a")).await, RUN);
    check(
        &recorder,
        &[
            ("lease_lost_total{}", 1.0),
            ("store_seconds{operation=claim}", 1.0),
            ("store_seconds{operation=complete}", 1.0),
        ],
    );
}

/// If a sender hangs up during the completion, the layer completes the event a second time, and the
/// store then returns `false`.
#[tokio::test(start_paused = true)]
async fn a_completion_that_was_repeated_does_not_count_as_a_lost_lease() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut store = Faulty::new();
    store.reply_delay = SECOND;
    let app = app(IdempotencyLayer::new(store), || async { StatusCode::OK });
    assert!(timeout(SECOND / 2, send(&app, event("a"))).await.is_err());
    sleep(5 * SECOND).await;
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    check(
        &recorder,
        &[
            ("handlers_skipped_total{reason=duplicate}", 1.0),
            ("store_seconds{operation=claim}", 2.0),
            ("store_seconds{operation=complete}", 2.0),
        ],
    );
}

/// This is the only metric that reveals a hanging store.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_responds_is_measured_when_the_call_is_dropped() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app(
        IdempotencyLayer::new(Ends(std::future::pending)),
        Runs::default().handler(),
    );
    let given_up = timeout(30 * SECOND, send(&app, event("a"))).await;
    assert!(given_up.is_err());
    check(
        &recorder,
        &[
            ("store_seconds{operation=claim}", 1.0),
            ("store_seconds{operation=complete}", 1.0),
        ],
    );
}
