//! The places in an axum application where the layer can be put.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    middleware::{self, Next},
    routing::{self, post},
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::Value;
use soundhash_webhook::{Delivery, Event};
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

use super::layer;
use crate::support::{BODY, Script, Step, data, sign, signed, text, with_signature};

async fn handler(_: Event) -> &'static str {
    "handled"
}

async fn status<S>(service: S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    response.status()
}

fn request(method: &str, uri: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .unwrap()
}

/// `layer` protects everything that was added before it, including the 404 and 405 responses.
/// `route_layer` leaves these open, which reveals to an attacker which routes exist.
#[tokio::test]
async fn layer_protects_the_404_and_the_405_and_route_layer_leaves_them_open() {
    let router = || Router::new().route("/webhooks/soundhash", post(handler));
    let of_method = |method| Router::new().route("/webhooks/soundhash", method);
    for (app, elsewhere, get) in [
        (router().layer(layer()), 401, 401),
        (router().route_layer(layer()), 404, 401),
        (of_method(post(handler).layer(layer())), 404, 401),
        (of_method(post(handler).route_layer(layer())), 404, 405),
    ] {
        let app: Router = app.route("/healthz", routing::get(|| async {}));
        assert_eq!(status(app.clone(), signed(BODY)).await, StatusCode::OK);
        for (method, uri, expected) in [
            ("POST", "/webhooks/soundhash", 401),
            ("GET", "/webhooks/soundhash", get),
            ("GET", "/elsewhere", elsewhere),
            ("GET", "/healthz", 200),
        ] {
            let status = status(app.clone(), request(method, uri)).await;
            assert_eq!(status, expected, "{method} {uri}");
        }
    }
}

/// Only verified requests take permits from a concurrency limit that an earlier `layer` call added.
#[tokio::test(start_paused = true)]
async fn a_limit_inside_the_router_is_not_taken_by_unfinished_bodies() {
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(layer());
    let stalled = Body::new(Script::new([data(b"{"), Step::Stall]));
    let stalled = tokio::spawn(status(app.clone(), with_signature(sign(BODY), stalled)));
    tokio::task::yield_now().await;
    assert_eq!(status(app, signed(BODY)).await, StatusCode::OK);
    assert_eq!(stalled.await.unwrap(), StatusCode::REQUEST_TIMEOUT);
}

/// Inside the layer, extractors and middleware that read the body get the verified one.
#[tokio::test]
async fn body_reading_extractors_and_middleware_work_inside() {
    async fn read_all(request: axum::extract::Request, next: Next) -> Response<Body> {
        let (head, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!(bytes, BODY);
        next.run(Request::from_parts(head, Body::from(bytes))).await
    }
    async fn all(event: Event, delivery: Delivery, Json(value): Json<Value>) -> String {
        assert_eq!(delivery.body(), BODY);
        format!("{} {}", event.event_type(), value["data"]["title"])
    }
    let app: Router = Router::new().route("/webhooks/soundhash", post(all)).layer(
        ServiceBuilder::new()
            .layer(layer())
            .layer(middleware::from_fn(read_all)),
    );
    let mut request = signed(BODY);
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    let Ok(response) = app.oneshot(request).await;
    assert_eq!(text(response).await, r#"video.processed "Test Video""#);
}
