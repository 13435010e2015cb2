//! The layer records requests without changing them.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Request, Response, StatusCode},
    routing::post,
};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use soundhash_webhook::{
    Event, Rejection, Secret, SoundHashWebhookLayer,
    testing::{SignedRequest, hostile_requests},
};
use soundhash_webhook_inspector::{Inspector, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{App, PATH, SECRET, titled};

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

/// Frames that count their polls.
struct Frames {
    queue: VecDeque<Frame<Bytes>>,
    polled: Arc<AtomicUsize>,
    hint: SizeHint,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polled.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.queue.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }

    fn is_end_stream(&self) -> bool {
        self.queue.is_empty()
    }
}

fn frames(data: &[&'static str], trailers: bool) -> (Frames, Arc<AtomicUsize>) {
    let polled = Arc::<AtomicUsize>::default();
    let mut frames: VecDeque<_> = data
        .iter()
        .map(|it| Frame::data(Bytes::from_static(it.as_bytes())))
        .collect();
    if trailers {
        frames.push_back(Frame::trailers(HeaderMap::from_iter([(
            "x-sum".parse().unwrap(),
            "1".parse().unwrap(),
        )])));
    }
    let mut hint = SizeHint::new();
    hint.set_lower(7);
    hint.set_upper(77);
    (
        Frames {
            queue: frames,
            polled: polled.clone(),
            hint,
        },
        polled,
    )
}

fn signed(body: Frames) -> Request<Frames> {
    let request = Request::post(PATH).header("x-webhook-signature", "0".repeat(64));
    request.body(body).unwrap()
}

#[tokio::test]
async fn only_the_frames_that_the_application_reads_are_read() {
    let inspector = Inspector::new();
    let (body, polled) = frames(&["one", "two", "three"], false);
    let reads_one = service_fn(async |request: Request<Body>| {
        let frame = request.into_body().frame().await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "one");
        Ok::<_, Infallible>(StatusCode::OK)
    });
    let mut records = inspector.subscribe();
    inspector
        .layer()
        .layer(reads_one)
        .oneshot(signed(body))
        .await
        .unwrap();
    assert_eq!(polled.load(Ordering::Relaxed), 1);
    assert_eq!(records.recv().await.unwrap().body(), b"one");
}

#[tokio::test]
async fn requests_and_responses_pass_unchanged() {
    let inspector = Inspector::new();
    let (body, _) = frames(&["one", "", "two"], true);
    let echo = service_fn(async |request: Request<Body>| {
        let body = request.into_body();
        assert_eq!(
            (body.size_hint().lower(), body.size_hint().upper()),
            (7, Some(77))
        );
        assert!(!body.is_end_stream());
        Ok::<_, Infallible>(
            Response::builder()
                .status(202)
                .header("x-own", "1")
                .body(body)
                .unwrap(),
        )
    });
    let mut records = inspector.subscribe();
    let response = inspector
        .layer()
        .layer(echo)
        .oneshot(signed(body))
        .await
        .unwrap();
    assert_eq!(
        (response.status(), &response.headers()["x-own"]),
        (StatusCode::ACCEPTED, &"1".parse().unwrap())
    );
    let mut body = response.into_body();
    assert_eq!(
        (body.size_hint().lower(), body.size_hint().upper()),
        (7, Some(77))
    );
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
    assert!(body.is_end_stream());
    assert_eq!(
        records.recv().await.unwrap().body(),
        b"",
        "the response was made before the body was read"
    );
}

#[tokio::test]
async fn no_more_of_a_body_is_kept_than_was_asked_for() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).max_body_size(100)).await;
    let mut records = app.inspector.subscribe();
    let body = titled("long", &"x".repeat(1_000));
    assert_eq!(app.send_signed(SECRET, body.clone()).await, StatusCode::OK);
    let record = records.recv().await.unwrap();
    assert_eq!(record.body(), &body[..100]);
    assert_eq!(record.verdict(), Verdict::Accepted);
    // The layer parsed the whole body, so the list can show the event.
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
    let response = app
        .oneshot(SignedRequest::new(SECRET).build())
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 10_000);
    let page = inspector
        .routes()
        .oneshot(Request::get("/api/records/1").body(Body::empty()).unwrap());
    let detail = page
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let detail: serde_json::Value = serde_json::from_slice(&detail).unwrap();
    assert_eq!(
        (
            &detail["response"]["body_bytes"],
            &detail["response"]["body_kept"]
        ),
        (&10_000.into(), &600.into())
    );
}

/// The layer rejects an unsigned request before it reads the body.
#[tokio::test]
async fn a_sender_that_waits_for_a_100_gets_a_401() {
    let app = App::start().await;
    let authority = app
        .url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap()
        .0;
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {authority}\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(std::str::from_utf8(&answer), Ok("HTTP/1.1 401"));
}
