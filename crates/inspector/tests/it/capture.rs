//! The layer records requests without changing them.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Request, Response, StatusCode},
    routing::post,
};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use soundhash_webhook::{
    Event, Rejection, Secret, SoundHashWebhookLayer,
    testing::{SignedRequest, hostile_requests},
};
use soundhash_webhook_inspector::{Inspector, Verdict};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{App, PATH, SECRET, call, titled};

#[tokio::test]
async fn hostile_requests_pass_with_the_inspector_on() {
    let secret = Secret::new(SECRET);
    let inspector = Inspector::new().capacity(50);
    let app = Router::new()
        .route(PATH, post(|_: Event| async { StatusCode::OK }))
        .layer(SoundHashWebhookLayer::new(&secret))
        .layer(inspector.layer());
    let mut records = inspector.subscribe();
    for hostile in hostile_requests(&secret) {
        let response = app.clone().oneshot(hostile.request(PATH)).await.unwrap();
        hostile.check(&response).unwrap();
        let rejected = response.extensions().get::<Rejection>().is_some();
        drop(response);
        let record = records.recv().await.unwrap();
        let verdict = record.verdict() == Verdict::Rejected;
        assert_eq!(verdict, rejected, "{}: {record:?}", hostile.name());
        assert_eq!(record.is_verified(), !rejected, "{}", hostile.name());
    }
}

/// Returns a signed request whose body consists of these frames and a trailer, along with a counter
/// of the frames that have been read.
fn signed(data: &'static [&'static str]) -> (Request<Body>, Arc<AtomicUsize>) {
    let read = Arc::<AtomicUsize>::default();
    let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let frames = data.iter().map(|it| Frame::data(Bytes::from(*it)));
    let frames = frames.chain([Frame::trailers(sum)]);
    let count = read.clone();
    let frames = frames.inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
    let request = Request::post(PATH).header("x-webhook-signature", "0".repeat(64));
    (request.body(Body::new(body)).unwrap(), read)
}

#[tokio::test]
async fn only_the_frames_that_the_application_reads_are_read() {
    let inspector = Inspector::new();
    let (request, read) = signed(&["one", "two", "three"]);
    let reads_one = service_fn(async |request: Request<Body>| {
        let frame = request.into_body().frame().await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "one");
        Ok::<_, Infallible>(StatusCode::OK)
    });
    let mut records = inspector.subscribe();
    let service = inspector.layer().layer(reads_one);
    service.oneshot(request).await.unwrap();
    assert_eq!(read.load(Ordering::Relaxed), 1);
    assert_eq!(records.recv().await.unwrap().body(), b"one");
}

#[tokio::test]
async fn requests_and_responses_pass_unchanged() {
    let inspector = Inspector::new();
    let (request, _) = signed(&["one", "", "two"]);
    let echo = service_fn(async |request: Request<Body>| {
        let response = Response::builder().status(202).header("x-own", "1");
        Ok::<_, Infallible>(response.body(request.into_body()).unwrap())
    });
    let mut records = inspector.subscribe();
    let service = inspector.layer().layer(echo);
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["x-own"], "1");
    let mut body = response.into_body();
    assert!(!body.is_end_stream());
    let mut data = Vec::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(chunk) => data.push(chunk),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    assert_eq!(data, ["one", "", "two"]);
    assert_eq!(trailers.unwrap()["x-sum"], "1");
    // The application responded before reading the body, so none of it was recorded.
    assert_eq!(records.recv().await.unwrap().body(), b"");

    let request = SignedRequest::new(SECRET).body("known").build();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(5));
}

#[tokio::test]
async fn no_more_of_a_body_is_kept_than_max_body_size() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).max_body_size(100)).await;
    let mut records = app.inspector.subscribe();
    let body = titled("long", &"x".repeat(1_000));
    assert_eq!(app.send_signed(SECRET, body.clone()).await, StatusCode::OK);
    let record = records.recv().await.unwrap();
    assert_eq!(record.body(), &body[..100]);
    assert_eq!(record.verdict(), Verdict::Accepted);
    // The layer parsed the whole body, so the list can still show the event.
    assert_eq!(record.event_id(), Some("long"));
    let detail = app.ask_json("GET", "/api/records/1").await;
    assert_eq!(detail["request"]["body_bytes"], body.len());
    assert_eq!(
        detail["no_replay"],
        "The body is longer than the inspector keeps. Raise `max_body_size`."
    );
}

#[tokio::test]
async fn the_handlers_response_is_kept_up_to_the_same_limit() {
    let inspector = Inspector::new().with_secret(SECRET).max_body_size(600);
    let app = Router::new()
        .route(PATH, post(async || "y".repeat(10_000)))
        .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
        .layer(inspector.layer());
    let response = app.oneshot(SignedRequest::new(SECRET).build()).await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 10_000);
    let response = call(&inspector, "GET", "/api/records/1").await["response"].take();
    assert_eq!(response["body_bytes"], 10_000);
    assert_eq!(response["body_kept"], 600);
}
