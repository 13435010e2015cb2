//! Responses of a handler that SoundHash cannot decode.

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::post,
};
use http_body_util::BodyExt;
use soundhash_webhook::{SoundHashWebhookLayer, testing::SignedRequest};
use tower::ServiceExt;
use tracing::Level;

use crate::{
    support::{SECRET, Script, data},
    telemetry::log::Log,
};

fn chunks(chunks: &[&'static [u8]]) -> Body {
    Body::new(Script::new(chunks.iter().map(|chunk| data(chunk))))
}

fn app(layer: SoundHashWebhookLayer, response: fn() -> Response) -> Router {
    Router::new()
        .route("/hook", post(async move || response()))
        .layer(layer)
}

/// Returns the body of the response.
async fn respond(app: &Router) -> Bytes {
    let request = SignedRequest::new(SECRET)
        .uri("/hook")
        .body(r#"{"type":"x","data":1}"#)
        .build();
    let Ok(response) = app.clone().oneshot(request).await;
    response.into_body().collect().await.unwrap().to_bytes()
}

fn with(name: &str, value: &str, body: impl Into<Body>) -> Response {
    Response::builder()
        .header(name, value)
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn a_response_that_cannot_be_decoded_is_logged_once() {
    const TYPE: &str = "content-type";
    const CODING: &str = "content-encoding";
    let cases: [(fn() -> Response, &str); 18] = [
        (|| Response::new("é".into()), ""),
        (|| Response::new(Body::empty()), ""),
        (
            || Response::new(vec![b'a', 0xff].into()),
            "its body is not UTF-8",
        ),
        (
            || Response::new(chunks(&[b"a\xc3", b"\xa9b", b"\xe2\x82", b"\xac"])),
            "",
        ),
        (
            || Response::new(chunks(&[b"a\xc3", b"a"])),
            "its body is not UTF-8",
        ),
        (
            || Response::new(chunks(&[b"a\xc3"])),
            "its body is not UTF-8",
        ),
        (|| with(TYPE, "text/plain; charset=\"UTF-8\"", "é"), ""),
        (
            || with(TYPE, "text/plain;charset=us-ascii", "é"),
            "its charset is US-ASCII, but its body is not",
        ),
        (
            || with(TYPE, "text/plain; a=b; Charset=utf-16", "é"),
            "its charset is not UTF-8",
        ),
        (|| with(TYPE, "text/plain; charset=utf-16", ""), ""),
        (
            || with(TYPE, "text/plain; charset=ISO-8859-1", vec![0xff]),
            "",
        ),
        (
            || with(CODING, "br", "a"),
            "its Content-Encoding is neither gzip nor deflate",
        ),
        (
            || with(CODING, "utf-8", "a"),
            "its Content-Encoding is neither gzip nor deflate",
        ),
        (
            || with(CODING, "gzip", "ok"),
            "its Content-Encoding is gzip, but its body is not",
        ),
        (|| with(CODING, "gzip", chunks(&[b"\x1f", b"\x8b\xff"])), ""),
        (
            || with(CODING, "gzip", chunks(&[b"\x1f"])),
            "its Content-Encoding is gzip, but its body is not",
        ),
        (|| with(CODING, "Identity", "a"), ""),
        (
            || {
                let body = Body::from(vec![0xff]);
                Response::builder().status(500).body(body).unwrap()
            },
            "",
        ),
    ];
    for (number, (response, problem)) in cases.into_iter().enumerate() {
        let log = Log::up_to(Level::INFO);
        let app = app(
            SoundHashWebhookLayer::new(SECRET).check_responses(true),
            response,
        );
        let expected = response().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(respond(&app).await, expected, "{number}");
        let lines = log.take();
        match problem {
            "" => assert_eq!(lines, "", "{number}"),
            problem => {
                let line = format!(
                    "webhook response cannot be decoded: {problem}. SoundHash counts it as a failure \
                     and sends the event again. Respond with an empty body or with UTF-8 path=\"/hook\"\n"
                );
                assert!(
                    lines.ends_with(&line) && lines.lines().count() == 1,
                    "{number}: {lines}"
                );
            }
        }
        respond(&app).await;
        assert_eq!(log.take(), "", "{number} is logged once");
    }
}

#[tokio::test]
async fn responses_are_checked_in_debug_builds_unless_it_is_turned_off() {
    let bad = || Response::new(vec![0xff].into());
    for (layer, expected) in [
        (
            SoundHashWebhookLayer::new(SECRET),
            usize::from(cfg!(debug_assertions)),
        ),
        (SoundHashWebhookLayer::new(SECRET).check_responses(false), 0),
    ] {
        let log = Log::up_to(Level::INFO);
        respond(&app(layer, bad)).await;
        assert_eq!(log.take().lines().count(), expected);
    }
}
