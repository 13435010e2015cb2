//! What the log and the metrics contain, and the limits on a sender's influence over them.

#![cfg(any(feature = "metrics", feature = "tracing"))]

#[cfg(feature = "tracing")]
mod canceled;
#[cfg(feature = "metrics")]
mod counted;
#[cfg(feature = "tracing")]
mod deliveries;
#[cfg(feature = "metrics")]
mod idempotency;
#[cfg(feature = "tracing")]
mod rejections;
#[cfg(feature = "tracing")]
mod schema;
#[cfg(feature = "tracing")]
mod secrecy;

use axum::{Router, body::Body, routing::post};
use http::{Request, StatusCode};
use soundhash_webhook::{Event, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer};
#[cfg(feature = "tracing")]
pub(crate) use soundhash_webhook_tests::log;
use tower::ServiceExt;

const KEY: &str = "whsec_0nly-f0r-us";
const OLD_KEY: &str = "whsec_0nly-before";
const VIDEO: &str = r#"{"video_id":1,"title":"hidden-title"}"#;

/// The span of [`video`].
#[cfg(feature = "tracing")]
const SPAN: &str = "soundhash_webhook.delivery{id=\"evt_1\" event_type=\"video.processed\"}: ";

fn video() -> String {
    event("video.processed", VIDEO)
}

fn app() -> Router {
    let layer = SoundHashWebhookLayer::new(KEY)
        .previous_secret(OLD_KEY)
        .max_body_size(4096);
    Router::new()
        .route("/", post(|_: Event| async { StatusCode::OK }))
        .layer(layer)
        .route("/open", post(|_: Event| async { StatusCode::OK }))
}

fn request(uri: &str, signature: &str, body: &str) -> Request<Body> {
    Request::post(uri)
        .header(SIGNATURE_HEADER, signature)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// Returns a request with this body, signed with this key.
fn signed(key: &str, body: &str) -> Request<Body> {
    let signature = Secret::new(key).sign(body.as_bytes()).to_string();
    request("/", &signature, body)
}

async fn send(app: &Router, request: Request<Body>) -> u16 {
    let Ok(response) = app.clone().oneshot(request).await;
    response.status().as_u16()
}

async fn deliver(app: &Router, key: &str, body: &str) -> u16 {
    send(app, signed(key, body)).await
}

fn event(event_type: &str, data: &str) -> String {
    format!(r#"{{"type":"{event_type}","id":"evt_1","data":{data}}}"#)
}

/// Returns an event in the format of SoundHash's test button.
fn test_event(event_type: &str) -> String {
    format!(
        r#"{{"type":"{event_type}","id":"evt_1","data":{{"test":true}},"resource_type":"test"}}"#
    )
}

/// Returns a request for each rejection that depends only on the head or the body.
fn rejected() -> Vec<(Request<Body>, &'static str)> {
    let body = video();
    let large = format!("{body}{}", " ".repeat(5000));
    let wrong = Secret::new("other").sign(body.as_bytes()).to_string();
    let mut without = request("/", &wrong, &body);
    without.headers_mut().remove(SIGNATURE_HEADER);
    let mut several = request("/", &wrong, &body);
    let value = several.headers()[SIGNATURE_HEADER].clone();
    several.headers_mut().append(SIGNATURE_HEADER, value);
    vec![
        (without, "missing_signature"),
        (several, "several_signatures"),
        (request("/", "sha256=0", &body), "malformed_signature"),
        (request("/", &wrong, &body), "wrong_signature"),
        (request("/", &wrong, &large), "body_too_large"),
    ]
}
