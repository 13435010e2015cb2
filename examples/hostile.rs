//! `cargo run --example hostile`
//!
//! Sends what a stranger would send, and what SoundHash sends, to two applications, and tells
//! what is wrong with them. The first is right; the second has a log of bodies at the wrong place,
//! and an old route that nobody protected.
//!
//! It all happens in-process: `failures` and the application are what a test of your own needs.

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
    testing::{Failure, hostile_requests},
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
    // Here it would be logged.
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// What is wrong with this path of an application.
async fn failures(app: &Router, path: &str, secret: &Secret) -> Vec<Failure> {
    let mut failures = Vec::new();
    for hostile in hostile_requests(secret) {
        let Ok(response) = app.clone().oneshot(hostile.request(path)).await;
        failures.extend(hostile.check(&response).err());
    }
    failures
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let secret = Secret::new("whsec_test");
    for (name, app, path) in [
        ("right", right(&secret), PATH),
        ("wrong", wrong(&secret), PATH),
        ("wrong", wrong(&secret), LEGACY),
    ] {
        let failures = failures(&app, path, &secret).await;
        println!("{name}, {path}: {} failures", failures.len());
        for failure in failures {
            println!("- {failure}");
        }
    }
}
