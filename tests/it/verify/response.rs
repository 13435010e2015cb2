//! Handler responses that SoundHash cannot decode.

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::post,
};
use http_body::Body as _;
use http_body_util::BodyExt;
use soundhash_webhook::{SoundHashWebhookLayer, testing::SignedRequest};
use tower::ServiceExt;
use tracing::Level;

use super::at_once;
use crate::{
    support::{SECRET, Script, Step, data},
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

/// The response may be a stream that never ends.
#[tokio::test]
async fn a_checked_response_is_neither_delayed_nor_changed() {
    let layer = SoundHashWebhookLayer::new(SECRET).check_responses(true);
    let respond = async |response| {
        let request = SignedRequest::new(SECRET).uri("/hook").body("{}").build();
        let Ok(response) = app(layer.clone(), response).oneshot(request).await;
        response.into_body()
    };
    let log = Log::up_to(Level::INFO);
    let fixed = respond(|| Response::new("é".into())).await;
    assert_eq!(fixed.size_hint().exact(), Some(2));
    let mut stream = respond(|| {
        let bytes = "aé€😀".as_bytes().chunks(1).map(data);
        Response::new(Body::new(Script::new(bytes.chain([Step::Stall]))))
    })
    .await;
    for byte in "aé€😀".bytes() {
        let frame = at_once(stream.frame()).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), [byte][..]);
    }
    assert_eq!(log.take(), "");
    // A server does not poll a body again after its trailers, so the problem must be logged by
    // then.
    let mut cut = respond(|| {
        let steps = [data(b"a\xc3"), Step::Trailers, Step::Stall];
        Response::new(Body::new(Script::new(steps)))
    })
    .await;
    cut.frame().await.unwrap().unwrap();
    assert!(cut.frame().await.unwrap().unwrap().is_trailers());
    assert!(log.take().contains("its body is not UTF-8"));
}

/// A response, and the problem with it.
type Case = (fn() -> Response, &'static str);

#[tokio::test]
async fn a_response_that_cannot_be_decoded_is_logged_once() {
    const TYPE: &str = "content-type";
    const CODING: &str = "content-encoding";
    const NOT_UTF8: &str = "its body is not UTF-8";
    const CHARSET: &str = "its charset is not UTF-8";
    const NOT_CODED: &str = "its Content-Encoding is neither gzip nor deflate";
    const NOT_GZIP: &str = "its Content-Encoding is gzip, but its body is not";
    const SPLIT: [&[u8]; 4] = [b"a\xc3", b"\xa9b", b"\xe2\x82", b"\xac"];
    let cases: [Case; 15] = [
        (|| Response::new("é".into()), ""),
        (|| Response::new(vec![b'a', 0xff].into()), NOT_UTF8),
        (|| Response::new(chunks(&SPLIT)), ""),
        (|| Response::new(chunks(&SPLIT[..1])), NOT_UTF8),
        (|| Response::new(chunks(&[b"a\xc3", b"a"])), NOT_UTF8),
        (|| with(TYPE, "a/b; charset=\"UTF-8\"", "é"), ""),
        (|| with(TYPE, "a/b; a=b; Charset=utf-16", "é"), CHARSET),
        (|| with(TYPE, "a/b; charset=utf-16", ""), ""),
        (|| with(TYPE, "a/b; charset=ISO-8859-1", vec![0xff]), ""),
        (|| with(CODING, "utf-8", "a"), NOT_CODED),
        (|| with(CODING, "gzip", "ok"), NOT_GZIP),
        (|| with(CODING, "gzip", chunks(&[])), ""),
        (|| with(CODING, "gzip", chunks(&[b"\x1f\x8b", b"\xff"])), ""),
        (|| with(CODING, "Identity", "a"), ""),
        (
            || {
                let failed = Response::builder().status(500);
                failed.body(vec![0xff].into()).unwrap()
            },
            "",
        ),
    ];
    for (number, (response, problem)) in cases.into_iter().enumerate() {
        for checks in [true, false] {
            let log = Log::up_to(Level::INFO);
            let layer = SoundHashWebhookLayer::new(SECRET).check_responses(checks);
            let app = app(layer, response);
            let expected = response().into_body().collect().await.unwrap();
            assert_eq!(respond(&app).await, expected.to_bytes(), "{number}");
            let lines = log.take();
            if problem.is_empty() || !checks {
                assert!(!lines.contains("decoded"), "{number}: {lines}");
            } else {
                let line = format!(
                    "webhook response cannot be decoded: {problem}. SoundHash counts it as a \
                     failure and sends the event again. Respond with an empty body or with UTF-8 \
                     path=\"/hook\"\n"
                );
                assert!(lines.ends_with(&line), "{number}: {lines}");
                assert_eq!(lines.lines().count(), 1, "{number}: {lines}");
            }
            respond(&app).await;
            assert_eq!(log.take(), "", "{number} is logged once");
        }
    }
    // By default, responses are checked only in debug builds.
    let log = Log::up_to(Level::INFO);
    let bad = || Response::new(vec![0xff].into());
    respond(&app(SoundHashWebhookLayer::new(SECRET), bad)).await;
    assert_eq!(log.take().is_empty(), !cfg!(debug_assertions));
}
