//! The layer's responses, and the services that it works with.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    routing::{any, get, post},
};
use soundhash_webhook::{
    BoxError, SoundHashWebhookLayer,
    idempotency::{
        Claim, ClaimToken, Idempotency, IdempotencyLayer, IdempotencyStore, Key, MemoryStore,
        Outcome, OutcomeKind,
    },
};
use tokio::sync::Notify;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    limit::RequestBodyLimitLayer,
    timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer},
};
use tower_layer::Layer;

use super::support::{
    DUPLICATE, Faulty, IN_PROGRESS, RUN, Runs, STORE_UNAVAILABLE, app, event, flood, layer, send,
};
use crate::support::{SECRET, text, with_signature};

#[tokio::test]
async fn a_duplicate_gets_200_and_does_not_run_the_handler() {
    let runs = Runs::default();
    let app = app(layer(), runs.handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    let Ok(response) = app.clone().oneshot(event("a")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["idempotent-replayed"], "true");
    assert_eq!(text(response).await, "");
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(send(&app, event("b")).await, RUN);
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_duplicate_of_an_event_in_progress_gets_503() {
    static GO: Notify = Notify::const_new();
    let runs = Runs::default();
    let app = app(
        layer(),
        runs.then(|_| async {
            GO.notified().await;
            StatusCode::NO_CONTENT
        }),
    );
    let first = tokio::spawn({
        let app = app.clone();
        async move { send(&app, event("a")).await }
    });
    while runs.count() == 0 {
        tokio::task::yield_now().await;
    }
    let Ok(response) = app.clone().oneshot(event("a")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(text(response).await, "Service unavailable");
    assert_eq!(send(&app, event("a")).await, IN_PROGRESS);
    GO.notify_one();
    assert_eq!(first.await.unwrap(), (204, None));
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_64_copies_of_each_of_1000_events_runs() {
    let runs = Runs::default();
    let app = app(
        layer(),
        runs.then(|_| async {
            tokio::task::yield_now().await;
            StatusCode::OK
        }),
    );
    flood(&[app], 1000, &runs).await;
    assert_eq!(runs.count(), 1000);
}

/// If deliveries reached the handler while the store is down, events would run twice during an
/// outage.
#[tokio::test]
async fn without_its_store_no_handler_runs() {
    let runs = Runs::default();
    let store = Faulty::new();
    let app = app(IdempotencyLayer::new(store.clone()), runs.handler());
    store.claims_fail.store(1, Ordering::SeqCst);
    let Ok(response) = app.clone().oneshot(event("a")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let outcome = response.extensions().get::<Outcome>().unwrap();
    assert_eq!(outcome.kind(), OutcomeKind::StoreUnavailable);
    assert_eq!(outcome.to_string(), "idempotency store failed");
    let source = outcome.source().unwrap();
    assert_eq!(source.to_string(), "store is\ndown");
    assert_eq!(text(response).await, "Service unavailable");
    assert_eq!(runs.count(), 0);

    store.claims_fail.store(1, Ordering::SeqCst);
    assert_eq!(send(&app, event("a")).await, STORE_UNAVAILABLE);
    assert_eq!(send(&app, event("a")).await, RUN);
}

#[tokio::test]
async fn a_store_that_panics_has_failed() {
    struct Panics;

    impl IdempotencyStore for Panics {
        async fn claim(&self, _: &Key, _: Duration) -> Result<Claim, BoxError> {
            panic!("poisoned")
        }

        async fn complete(&self, _: &Key, _: ClaimToken, _: Duration) -> Result<bool, BoxError> {
            unreachable!("nothing was claimed")
        }

        async fn release(&self, _: &Key, _: ClaimToken) -> Result<bool, BoxError> {
            unreachable!("nothing was claimed")
        }
    }

    let runs = Runs::default();
    let app = app(IdempotencyLayer::new(Panics), runs.handler());
    for _ in 0..2 {
        assert_eq!(send(&app, event("a")).await, STORE_UNAVAILABLE);
    }
    assert_eq!(runs.count(), 0);
}

/// Attack: reach the handler through a router without the verification layer.
#[tokio::test]
async fn without_a_verified_delivery_the_response_is_500() {
    let runs = Runs::default();
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(runs.handler()))
        .layer(layer());
    let Ok(response) = app.oneshot(event("a")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let outcome = response.extensions().get::<Outcome>().unwrap();
    assert_eq!(outcome.kind(), OutcomeKind::Unverified);
    assert!(outcome.to_string().contains("SoundHashWebhookLayer"));
    assert_eq!(text(response).await, "Internal server error");
    assert_eq!(runs.count(), 0);
}

/// Attack: replay a delivery with another method, to another route inside the layer. That route's
/// 200 would complete the event.
#[tokio::test]
async fn methods_other_than_post_get_405_and_claim_nothing() {
    let runs = Runs::default();
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(runs.handler()))
        .route("/status", any(|| async { "up" }))
        .layer(layer())
        .layer(SoundHashWebhookLayer::new(SECRET));
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let mut replay = event("a");
        *replay.method_mut() = method.parse().unwrap();
        *replay.uri_mut() = "/status".parse().unwrap();
        let Ok(response) = app.clone().oneshot(replay).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "POST");
        let outcome = response.extensions().get::<Outcome>().unwrap();
        assert_eq!(outcome.kind(), OutcomeKind::MethodNotAllowed);
    }
    assert_eq!(send(&app, event("a")).await, RUN);
    assert_eq!(runs.count(), 1);
}

/// Dashboards and alerts depend on these names and statuses.
#[test]
fn each_kind_has_its_status_and_its_name() {
    for (kind, status, name) in [
        (OutcomeKind::Duplicate, 200, "duplicate"),
        (OutcomeKind::InProgress, 503, "in_progress"),
        (OutcomeKind::StoreUnavailable, 503, "store_unavailable"),
        (OutcomeKind::TooOld, 401, "too_old"),
        (OutcomeKind::Undated, 401, "undated"),
        (OutcomeKind::FromTheFuture, 401, "from_the_future"),
        (OutcomeKind::MethodNotAllowed, 405, "method_not_allowed"),
        (OutcomeKind::Unverified, 500, "unverified"),
    ] {
        assert_eq!((kind.status().as_u16(), kind.as_str()), (status, name));
    }
}

// ---- services

#[tokio::test]
async fn the_layer_works_wherever_the_verification_layer_works() {
    let verify = || SoundHashWebhookLayer::new(SECRET);
    let runs = Runs::default();
    let route = || Router::new().route("/webhooks/soundhash", post(runs.handler()));
    let apps: [Router; 4] = [
        route().layer(layer()).layer(verify()),
        route().route_layer(layer()).route_layer(verify()),
        route().layer(ServiceBuilder::new().layer(verify()).layer(layer())),
        Router::new().route(
            "/webhooks/soundhash",
            post(runs.handler()).layer(ServiceBuilder::new().layer(verify()).layer(layer())),
        ),
    ];
    for (app, id) in apps.into_iter().zip(1..) {
        let app = app.route("/healthz", get(|| async {}));
        assert_eq!(send(&app, event(id)).await, RUN);
        assert_eq!(send(&app, event(id)).await, DUPLICATE);
        let health = Request::get("/healthz").body(Body::empty()).unwrap();
        assert_eq!(send(&app, health).await, RUN);
    }
    assert_eq!(runs.count(), 4);
}

/// A concurrency limit panics if the layer calls a clone that was never polled ready.
#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let inner = ServiceBuilder::new()
        .concurrency_limit(1)
        .service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut service = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(SECRET))
        .layer(layer())
        .service(inner);
    let forged = || with_signature("0".repeat(64), Body::from("{}"));
    // Duplicates and rejected requests must release their permits, too.
    for (request, status) in [
        (event("a"), 200),
        (event("a"), 200),
        (forged(), 401),
        (forged(), 401),
        (event("b"), 200),
    ] {
        let Ok(service) = ServiceExt::<Request<Body>>::ready(&mut service).await;
        let Ok(response) = service.call(request).await;
        assert_eq!(response.status(), status);
    }
}

/// These layers change the response body's type to one that the idempotency layer cannot create
/// from bytes.
#[tokio::test(start_paused = true)]
async fn layers_of_tower_http_work_on_either_side() {
    let runs = Runs::default();
    let handler = runs.first(|| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        StatusCode::OK
    });
    let seconds = Duration::from_secs(10);
    let timeout = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, seconds);
    let app: Router = Router::new().route(
        "/webhooks/soundhash",
        post(handler).layer(
            ServiceBuilder::new()
                .layer(RequestBodyLimitLayer::new(1 << 20))
                .layer(ResponseBodyTimeoutLayer::new(seconds))
                .layer(SoundHashWebhookLayer::new(SECRET))
                .layer(layer())
                .layer(RequestBodyLimitLayer::new(1 << 20))
                .layer(RequestBodyTimeoutLayer::new(seconds))
                .layer(ResponseBodyTimeoutLayer::new(seconds))
                .layer(timeout),
        ),
    );
    // A timeout inside the layer releases the event.
    assert_eq!(send(&app, event("a")).await, (504, None));
    assert_eq!(send(&app, event("a")).await, RUN);
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);
}

#[test]
fn the_inner_service_can_be_reached() {
    let mut service: Idempotency<i32, _> = layer().layer(1);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 2);
    assert_eq!(service.into_inner(), 2);
}

#[tokio::test]
async fn errors_of_the_inner_service_are_passed_on_and_release() {
    let runs = Runs::default();
    let counted = runs.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.add();
        // The response can be any type that implements `IntoResponse`.
        async { Err::<&str, _>("inner failed") }
    });
    let service = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(SECRET))
        .layer(layer())
        .service(inner);
    for _ in 0..2 {
        let result = service.clone().oneshot(event("a")).await;
        assert_eq!(result.unwrap_err(), "inner failed");
    }
    assert_eq!(runs.count(), 2);
}

#[test]
fn layer_and_service_can_be_shared_and_printed() {
    struct Opaque;
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>(value: &T) -> String {
        format!("{value:?}")
    }
    let layer = IdempotencyLayer::new(Opaque).max_age(Duration::from_secs(900));
    let service: Idempotency<(), Opaque> = layer.layer(());
    for shown in [check(&layer), check(&service)] {
        for part in ["lease: 60s", "retention: 86400s", "max_age: Some(900s)"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
    let store = "MemoryStore { claimed: 0, completed: 0, capacity: 7 }";
    assert_eq!(format!("{:?}", MemoryStore::new(7)), store);
}
