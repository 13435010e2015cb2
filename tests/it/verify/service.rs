//! The layer as a tower service: readiness, errors and types.

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use soundhash_webhook::{
    DeliverySlot, Rejection, RejectionKind, SoundHashWebhook, SoundHashWebhookLayer,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    decompression::RequestDecompressionLayer,
    limit::RequestBodyLimitLayer,
    timeout::{RequestBodyTimeoutLayer, TimeoutLayer},
};
use tower_layer::Layer;

use super::layer;
use crate::support::{BODY, echo, signed, text, with_signature};

fn forged() -> Request<Body> {
    with_signature("0".repeat(64), Body::from(BODY))
}

#[test]
fn layer_and_service_can_be_shared_and_printed() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>(value: &T) -> String {
        format!("{value:?}")
    }
    let layer = SoundHashWebhookLayer::new("s3cr3t-k3y").previous_secret("s3cr3t-0ld");
    let service: SoundHashWebhook<()> = layer.layer(());
    for shown in [check(&layer), check(&service)] {
        assert!(!shown.contains("s3cr3t"), "{shown}");
        for limit in [
            "max_body_size: 1048576",
            "body_timeout: 10s",
            "limit: 33554432",
        ] {
            assert!(shown.contains(limit), "{shown}");
        }
    }
}

#[test]
fn the_future_can_be_sent_between_threads() {
    fn check<T: Send + std::fmt::Debug>(future: &T) -> String {
        format!("{future:?}")
    }
    let future = echo(layer()).call(signed(BODY));
    // The `Debug` output includes neither the body nor the keys.
    assert_eq!(check(&future), "ResponseFuture { .. }");
}

#[test]
fn the_inner_service_can_be_reached() {
    let mut service: SoundHashWebhook<u8> = layer().layer(7);
    assert_eq!(*service.get_ref(), 7);
    *service.get_mut() = 8;
    assert_eq!(service.into_inner(), 8);
}

/// An outer layer, such as a logging layer, can read the delivery even if the handler never
/// responds.
#[tokio::test]
async fn a_slot_in_the_request_receives_the_verified_delivery() {
    let slotted = |mut request: Request<Body>| {
        let slot = DeliverySlot::default();
        request.extensions_mut().insert(slot.clone());
        (request, slot)
    };
    let inner = service_fn(|_: Request<Body>| pending::<Result<StatusCode, Infallible>>());
    let service = layer().layer(inner);

    let (request, slot) = slotted(signed(BODY));
    let mut call = pin!(service.clone().oneshot(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(slot.get().unwrap().body(), BODY);

    let (request, slot) = slotted(forged());
    let Ok(response) = service.oneshot(request).await;
    assert!(slot.get().is_none());
    assert!(response.extensions().get::<Rejection>().is_some());
}

/// Explanations are for staging systems. By default, all 401 responses are the same.
#[tokio::test]
async fn a_rejection_is_explained_on_request() {
    for (explain, expected) in [
        (false, "Invalid signature"),
        (true, "Invalid signature: signature does not match the body"),
    ] {
        let service = echo(layer().explain_rejections(explain));
        let Ok(response) = service.oneshot(forged()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(text(response).await, expected);
    }
}

async fn accepted(response: Result<Response<Body>, impl std::fmt::Debug>) {
    let response = response.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await.as_bytes(), BODY);
}

/// tower-http's layers change the body of the request or response.
#[tokio::test]
async fn layers_of_tower_http_work_outside_and_inside() {
    let echo = || {
        service_fn(|request: Request<Body>| async move {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        })
    };
    let minute = Duration::from_secs(60);
    let timeout = || TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, minute);
    let outside = ServiceBuilder::new()
        .layer(timeout())
        .layer(RequestDecompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(1024))
        .layer(RequestBodyTimeoutLayer::new(minute))
        .layer(layer())
        .service(echo());
    let response = outside.clone().oneshot(signed(BODY)).await;
    accepted(response.map(|it| it.map(Body::new))).await;

    // The length of the body is not declared, so the outer limit cuts it off while it is being read.
    let long = signed(vec![b'x'; 2048]);
    let long = long.map(|body| Body::from_stream(body.into_data_stream()));
    let response = outside.oneshot(long).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::BodyTooLarge);

    let inside = ServiceBuilder::new()
        .layer(layer())
        .layer(RequestDecompressionLayer::new())
        .layer(timeout())
        .layer(RequestBodyLimitLayer::new(1024));
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(|body: Bytes| async { body }))
        .layer(inside);
    accepted(app.oneshot(signed(BODY)).await).await;
}
