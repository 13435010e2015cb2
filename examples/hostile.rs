//! `cargo run --example hostile`
//!
//! Sends requests from an attacker and from SoundHash to two applications, and reports the mistakes
//! that the applications make. The first application is correct. The second logs bodies outside the
//! layer, and has an old, unprotected route.
//!
//! Everything runs in one process. Copy `report` into a test of your own application.

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use soundhash_webhook::{
    Event, Secret, SoundHashWebhookLayer,
    testing::{FailureReport, hostile_requests},
};
use tower::ServiceExt;

const PATH: &str = "/webhooks/soundhash";
const LEGACY: &str = "/webhooks/legacy";

async fn receive(_: Event) -> StatusCode {
    StatusCode::OK
}

fn right(secret: &Secret) -> Router {
    Router::new()
        .route(PATH, post(receive))
        .layer(SoundHashWebhookLayer::new(secret))
}

fn wrong(secret: &Secret) -> Router {
    right(secret)
        .route(LEGACY, post(|_: Json<Value>| async { StatusCode::OK }))
        .layer(middleware::from_fn(log_body))
}

async fn log_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // A real application would log the body here.
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// Sends all requests to `path`, and returns the application's mistakes.
async fn report(app: &Router, path: &str, secret: &Secret) -> FailureReport {
    let mut report = FailureReport::default();
    for hostile in hostile_requests(secret) {
        let Ok(response) = app.clone().oneshot(hostile.request(path)).await;
        report.extend(hostile.check(&response).err());
    }
    report
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let secret = Secret::new("whsec_test");
    for (name, app, path) in [
        ("right", right(&secret), PATH),
        ("wrong", wrong(&secret), PATH),
        ("wrong", wrong(&secret), LEGACY),
    ] {
        let report = report(&app, path, &secret).await;
        println!("{name}, {path}: {} failures", report.failures().count());
        print!("{report}");
    }
}
