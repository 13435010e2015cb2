//! The layer: what it lets through, what it refuses, and what a stranger can make it do.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    BoxError, Json, Router,
    body::Body,
    middleware::{self, Next},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use proptest::prelude::*;
use serde_json::Value;
use soundhash_webhook::{
    Delivery, Event, Rejection, RejectionKind, SIGNATURE_HEADER, SoundHashWebhook,
    SoundHashWebhookLayer,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_layer::Layer;

use crate::process;
use crate::support::{
    BODY, SECRET, Script, Step, data, echo, outcome, sign, signed, text, with_signature,
};

fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

async fn check<B>(request: Request<B>) -> Result<Bytes, RejectionKind>
where
    B: http_body::Body<Error: Into<BoxError>> + Send + Unpin + 'static,
{
    outcome(echo(layer()), request).await
}

/// What a future gives that has to wait for nothing.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

// ---- what is let through

#[tokio::test]
async fn an_authentic_request_reaches_the_handler_byte_for_byte() {
    assert_eq!(check(signed(BODY)).await, Ok(Bytes::from_static(BODY)));
}

#[tokio::test]
async fn the_head_is_handed_on_as_it_came() {
    let inner = service_fn(|request: Request<Body>| async move {
        assert_eq!(request.uri(), "/webhooks/soundhash");
        assert_eq!(request.headers()["x-tenant"], "acme");
        assert_eq!(request.headers()[SIGNATURE_HEADER], sign(BODY));
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let mut request = signed(BODY);
    request
        .headers_mut()
        .insert("x-tenant", HeaderValue::from_static("acme"));
    request.extensions_mut().insert(7u8);
    assert_eq!(
        outcome(layer().layer(inner), request).await,
        Ok(Bytes::new())
    );
}

#[tokio::test]
async fn the_delivery_is_what_was_signed() {
    let Ok(response) = echo(layer()).oneshot(signed(BODY)).await;
    let delivery = &response.extensions().get::<Delivery>().unwrap();
    assert_eq!(delivery.body(), BODY);
    assert_eq!(delivery.signature().to_string(), sign(BODY));
    assert_eq!(delivery.matched_secret(), 0);
    assert_eq!(delivery.endpoint(), None);
    assert_eq!(
        delivery.json::<Value>().unwrap()["data"]["title"],
        "Test Video"
    );
}

#[tokio::test]
async fn an_empty_body_can_be_authentic() {
    assert_eq!(check(signed("")).await, Ok(Bytes::new()));
}

/// Attack: none. A receiver that takes the body for text loses an authentic delivery.
#[tokio::test]
async fn a_body_that_is_not_utf8_is_authentic_all_the_same() {
    let body = Bytes::from_static(&[0xff, 0xfe, 0x00, 0x80]);
    assert_eq!(check(signed(body.clone())).await, Ok(body));
}

#[tokio::test]
async fn signature_digits_may_be_upper_case() {
    let request = with_signature(sign(BODY).to_uppercase(), Body::from(BODY));
    assert_eq!(check(request).await, Ok(Bytes::from_static(BODY)));
}

#[tokio::test]
async fn a_body_in_one_frame_is_not_copied() {
    let body = Bytes::from(BODY.to_vec());
    let arrived = body.as_ptr();
    let script = Script::new([Step::Yield, Step::Data(body), Step::Yield, Step::Trailers]);
    let received = check(with_signature(sign(BODY), script)).await.unwrap();
    assert_eq!(received.as_ptr(), arrived);
}

// ---- signatures that are refused

#[tokio::test]
async fn a_request_without_a_signature_is_refused() {
    let request = Request::new(Body::from(BODY));
    assert_eq!(check(request).await, Err(RejectionKind::MissingSignature));
}

/// Attack: parser confusion. A proxy looks at one signature, the receiver at the other.
#[tokio::test]
async fn two_signature_headers_are_refused_even_if_both_are_right() {
    let mut request = signed(BODY);
    let right = request.headers()[SIGNATURE_HEADER].clone();
    request.headers_mut().append(SIGNATURE_HEADER, right);
    assert_eq!(check(request).await, Err(RejectionKind::SeveralSignatures));
}

/// Attack: parser confusion, by whatever another vendor's parser would have skipped.
#[tokio::test]
async fn anything_but_64_digits_is_malformed() {
    let right = sign(BODY);
    let malformed: [Vec<u8>; 12] = [
        b"".into(),
        format!("sha256={right}").into(),
        format!("v1={right}").into(),
        format!("={right}").into(),
        format!("{right},{right}").into(),
        format!("{right}, v1").into(),
        format!(" {right}").into(),
        format!("{right}0").into(),
        right[..63].into(),
        right[..62].into(),
        format!("{}zz", &right[..62]).into(),
        [&right.as_bytes()[..62], b"\xff\xfe"].concat(),
    ];
    for signature in malformed {
        let request = with_signature(&signature, Body::from(BODY));
        assert_eq!(
            check(request).await,
            Err(RejectionKind::MalformedSignature),
            "{signature:?}"
        );
    }
}

/// Attack: forgery, and tampering with any part of the body or of the signature.
#[tokio::test]
async fn a_signature_of_something_else_is_refused() {
    let mut tampered = BODY.to_vec();
    tampered[10] ^= 1;
    let request = with_signature(sign(BODY), Body::from(tampered));
    assert_eq!(check(request).await, Err(RejectionKind::WrongSignature));

    let right = sign(BODY);
    for at in 0..64 {
        let mut wrong = right.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let request = with_signature(&wrong, Body::from(BODY));
        assert_eq!(check(request).await, Err(RejectionKind::WrongSignature));
    }
}

/// Attack: an oracle. Were the answers different, they would tell how far a forgery got.
#[tokio::test]
async fn every_401_looks_the_same() {
    let malformed = with_signature("sha256=", Body::from(BODY));
    let wrong = with_signature("0".repeat(64), Body::from(BODY));
    let mut answers = Vec::new();
    for request in [Request::new(Body::from(BODY)), malformed, wrong] {
        let Ok(response) = echo(layer()).oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let headers = response.headers().clone();
        answers.push((headers, text(response).await));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    let (headers, body) = &answers[0];
    assert_eq!(body, "Invalid signature");
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    // RFC 9110 §15.5.2: a 401 has to name the scheme.
    assert!(headers.contains_key(header::WWW_AUTHENTICATE));
}

// ---- the body: order, limits, time

/// Attack: make the receiver buffer what it will refuse anyway.
#[tokio::test]
async fn a_bad_header_is_refused_without_waiting_for_the_body() {
    let two = {
        let mut request = with_signature(sign(BODY), ());
        let value = request.headers()[SIGNATURE_HEADER].clone();
        request.headers_mut().append(SIGNATURE_HEADER, value);
        request
    };
    for head in [Request::new(()), with_signature("abc", ()), two] {
        let body = Script::new([Step::Stall]);
        let status = at_once(check(head.map(|()| body))).unwrap_err().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}

/// Attack: a terabyte that is only claimed. Reserving it would abort the process.
#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_at_once() {
    // The second is more than 64 bits can count.
    for length in ["1000000000000", "18446744073709551616"] {
        let mut request = with_signature(sign(BODY), Script::new([Step::Stall]));
        let length = HeaderValue::from_static(length);
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
        let refused = at_once(check(request));
        assert_eq!(refused, Err(RejectionKind::BodyTooLarge));
    }
}

/// What is no number is no length over the limit: the server counts, and so does the layer.
#[tokio::test]
async fn a_declared_length_that_is_no_number_is_not_believed() {
    for length in ["", "-1", "many"] {
        let mut request = signed(BODY);
        let length = HeaderValue::from_static(length);
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
        assert_eq!(check(request).await, Ok(Bytes::from_static(BODY)));
    }
}

#[tokio::test]
async fn the_limit_is_exact_declared_or_not() {
    for (len, allowed) in [(99, true), (100, true), (101, false)] {
        let body = vec![b'x'; len];
        let expected = if allowed {
            Ok(Bytes::from(body.clone()))
        } else {
            Err(RejectionKind::BodyTooLarge)
        };
        let service = echo(layer().max_body_size(100));

        let mut declared = signed(body.clone());
        declared
            .headers_mut()
            .insert(header::CONTENT_LENGTH, len.into());
        assert_eq!(outcome(service.clone(), declared).await, expected);

        let frames = body
            .chunks(7)
            .map(|chunk| Step::Data(chunk.to_vec().into()));
        let streamed = with_signature(sign(&body), Script::new(frames));
        assert_eq!(outcome(service, streamed).await, expected);
    }
}

#[tokio::test]
async fn the_default_limit_is_one_mebibyte() {
    let largest = vec![b' '; 1024 * 1024];
    assert!(check(signed(largest)).await.is_ok());
    let larger = vec![b' '; 1024 * 1024 + 1];
    let refused = check(signed(larger)).await;
    assert_eq!(refused, Err(RejectionKind::BodyTooLarge));
}

/// Attack: a chunked body without end.
#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let endless = Script::new([Step::Endless(Bytes::from_static(&[b'x'; 1024]))]);
    let polls = endless.polls();
    let mut request = with_signature(sign(b""), endless);
    // There, what is refused is not read on.
    *request.version_mut() = Version::HTTP_2;
    assert_eq!(check(request).await, Err(RejectionKind::BodyTooLarge));
    assert_eq!(polls.load(Ordering::Relaxed), 1025);
}

/// Attack: frames without data, for ever. They never reach a limit of bytes.
#[tokio::test]
async fn endless_empty_frames_neither_keep_the_thread_nor_outlive_the_deadline() {
    let service = echo(layer().body_timeout(Duration::from_millis(50)));
    for frame in [Step::Endless(Bytes::new())] {
        let request = with_signature(sign(b""), Script::new([frame]));
        let refused = outcome(service.clone(), request).await;
        assert_eq!(refused, Err(RejectionKind::BodyTimeout));
    }
}

/// Attack: a body that never says that it has ended, as any chunked one. A receiver that
/// waits for the hint spins for ever.
#[tokio::test]
async fn the_end_is_none_whatever_the_hints_say() {
    let script = Script::new([data(BODY)]);
    let polls = script.polls();
    let received = check(with_signature(sign(BODY), script)).await;
    assert_eq!(received, Ok(Bytes::from_static(BODY)));
    assert_eq!(polls.load(Ordering::Relaxed), 2);
}

/// Attack: hang up in mid-body. A receiver that unwraps dies.
#[tokio::test]
async fn a_body_that_breaks_off_is_a_bad_request_with_its_cause() {
    let script = Script::new([data(BODY), Step::Error]);
    let Ok(response) = echo(layer())
        .oneshot(with_signature(sign(BODY), script))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::BodyBroken);
    assert_eq!(rejection.to_string(), "body broke off");
    let cause = std::error::Error::source(rejection).unwrap();
    assert_eq!(cause.to_string(), "connection reset");
}

/// Attack: slow loris, in the body.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_refused_when_its_time_is_over() {
    let start = Instant::now();
    let stalled = Script::new([data(b"{"), Step::Stall]);
    let Ok(response) = echo(layer())
        .oneshot(with_signature(sign(b"{"), stalled))
        .await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    // RFC 9110 §15.5.9: the connection is of no more use.
    assert_eq!(response.headers()[header::CONNECTION], "close");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_any_length_is_a_timeout() {
    for (timeout, expected) in [(Duration::ZERO, 0), (Duration::MAX, 365 * 24 * 60 * 60)] {
        let start = Instant::now();
        let stalled = with_signature(sign(b""), Script::new([Step::Stall]));
        let refused = outcome(echo(layer().body_timeout(timeout)), stalled).await;
        assert_eq!(refused, Err(RejectionKind::BodyTimeout));
        assert_eq!(start.elapsed().as_secs(), expected);
    }
}

/// The time is that of the whole body: one byte now and then does not win more of it.
#[tokio::test(start_paused = true)]
async fn a_drip_fed_body_is_refused_when_its_time_is_over() {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    let service = echo(layer().body_timeout(Duration::from_secs(3)));
    let refused = outcome(service, with_signature(sign(b"x"), body)).await;
    assert_eq!(refused, Err(RejectionKind::BodyTimeout));
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn http2_has_no_connection_header() {
    let mut request = with_signature(sign(b""), Script::new([Step::Stall]));
    *request.version_mut() = Version::HTTP_2;
    let Ok(response) = echo(layer()).oneshot(request).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(!response.headers().contains_key(header::CONNECTION));
}

/// A delivery that is there at once needs no timer: it works outside of any runtime.
#[test]
fn a_whole_body_needs_no_runtime() {
    let received = check(with_signature(sign(BODY), Script::new([data(BODY)])));
    assert_eq!(at_once(received), Ok(Bytes::from_static(BODY)));
}

/// Attack: many connections, each within its limits, all stalled.
#[tokio::test(start_paused = true)]
async fn stalled_bodies_share_a_budget_and_whole_ones_do_not_need_it() {
    let service = echo(layer().max_buffered(100));
    let stalled = |len: usize| {
        // A server hands over the first bytes after the layer has asked for them.
        let script = Script::new([Step::Yield, Step::Data(vec![b'x'; len].into()), Step::Stall]);
        outcome(service.clone(), with_signature(sign(BODY), script))
    };
    let first = tokio::spawn(stalled(90));
    tokio::task::yield_now().await;

    // The second does not fit beside the first, and is not there soon either.
    let start = Instant::now();
    assert_eq!(stalled(11).await, Err(RejectionKind::BufferFull));
    assert_eq!(start.elapsed().as_millis(), 100);
    let script = Script::new([data(BODY), Step::Stall]);
    let Ok(response) = service
        .clone()
        .oneshot(with_signature(sign(BODY), script))
        .await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    // What arrives all the same is limited, too: this one is refused at once.
    let start = Instant::now();
    assert_eq!(stalled(101).await, Err(RejectionKind::BufferFull));
    assert_eq!(start.elapsed().as_millis(), 0);

    // One that is there whole is served, even if it is larger than the budget.
    let whole = vec![b'x'; 1000];
    assert!(outcome(service.clone(), signed(whole)).await.is_ok());
    let frames = [data(&BODY[..20]), data(&BODY[20..])];
    let frames = with_signature(sign(BODY), Script::new(frames));
    assert!(outcome(service.clone(), frames).await.is_ok());
    // In however many frames: the task gives way to others now and then, but waits for nothing.
    let frames = BODY
        .iter()
        .flat_map(|byte| [Step::Data(vec![*byte].into()), data(b""), data(b"")]);
    let frames = with_signature(sign(BODY), Script::new(frames));
    assert!(outcome(echo(layer().max_buffered(0)), frames).await.is_ok());
    // So is one that comes in pieces, but soon.
    let pieces = [
        data(&BODY[..20]),
        Step::Yield,
        data(&BODY[20..]),
        Step::Yield,
    ];
    let pieces = with_signature(sign(BODY), Script::new(pieces));
    assert!(outcome(service.clone(), pieces).await.is_ok());

    // When the first has gone, its share is free again.
    assert_eq!(first.await.unwrap(), Err(RejectionKind::BodyTimeout));
    assert_eq!(stalled(100).await, Err(RejectionKind::BodyTimeout));
}

/// Attack: put off the refusal with so many frames at once that the task, not the body, has
/// to wait.
#[tokio::test(start_paused = true)]
async fn bursts_of_frames_win_no_time_in_a_full_buffer() {
    let service = echo(layer().max_buffered(100_000));
    let holder = Script::new([Step::Data(vec![b'x'; 90_000].into()), Step::Stall]);
    let holder = tokio::spawn(outcome(service.clone(), with_signature(sign(BODY), holder)));
    tokio::task::yield_now().await;

    let (mut sender, body) = http_body_util::channel::Channel::<Bytes>::new(400);
    tokio::spawn(async move {
        let first = vec![b'x'; 90_000].into();
        let mut sent = sender.send_data(first).await;
        while sent.is_ok() {
            for _ in 0..200 {
                sent = sender.send_data(Bytes::from_static(b"x")).await;
            }
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
    });
    let start = Instant::now();
    let refused = outcome(service, with_signature(sign(BODY), body)).await;
    assert_eq!(refused, Err(RejectionKind::BufferFull));
    assert_eq!(start.elapsed().as_millis(), 100);
    holder.abort();
}

/// The time to arrive is no reason to wait longer than the body's time.
#[tokio::test(start_paused = true)]
async fn a_body_without_room_has_no_more_time_than_others() {
    let service = echo(
        layer()
            .max_buffered(0)
            .body_timeout(Duration::from_millis(50)),
    );
    let stalled = Script::new([Step::Stall]);
    let refused = outcome(service.clone(), with_signature(sign(BODY), stalled)).await;
    assert_eq!(refused, Err(RejectionKind::BodyTimeout));
    // The second ends when the time to arrive does.
    for timeout in [50, 100] {
        let limits = layer().max_buffered(10);
        let service = echo(limits.body_timeout(Duration::from_millis(timeout)));
        let stalled = || {
            let script = Script::new([Step::Data(vec![b'x'; 10].into()), Step::Stall]);
            outcome(service.clone(), with_signature(sign(BODY), script))
        };
        let holder = tokio::spawn(stalled());
        tokio::task::yield_now().await;
        let start = Instant::now();
        assert_eq!(stalled().await, Err(RejectionKind::BodyTimeout));
        assert_eq!(start.elapsed().as_millis(), u128::from(timeout));
        assert_eq!(holder.await.unwrap(), Err(RejectionKind::BodyTimeout));
    }
}

/// Attack: the same over sockets, where a server hands over a body in pieces even if it was
/// sent in one go.
#[tokio::test]
async fn a_full_buffer_does_not_lock_out_deliveries_that_are_sent_in_one_go() {
    let app: Router = Router::new()
        .route(
            "/webhooks/soundhash",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .layer(layer().max_buffered(100_000));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, app).await });
    let head = |signature: &str, length: &str| {
        format!(
            "POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\n\
             X-Webhook-Signature: {signature}\r\n{length}\r\n\r\n"
        )
    };
    let mut stalled = TcpStream::connect(&addr).await.unwrap();
    let claim = head(&sign(b""), "Content-Length: 100001");
    stalled.write_all(claim.as_bytes()).await.unwrap();
    stalled.write_all(&vec![b'x'; 100_000]).await.unwrap();
    // Until what stalls is refused, the buffer is full.
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The clock stands still, so that none of them is late on a busy machine. Tokio moves a paused
    // clock on when it is idle, but not while a blocking task runs.
    tokio::time::pause();
    let (go_on, paused) = mpsc::channel::<()>();
    let minute = Duration::from_secs(60);
    let paused = tokio::task::spawn_blocking(move || paused.recv_timeout(minute));
    for len in [60, 9_000, 20_000, 99_000] {
        let body = vec![b'x'; len];
        let declared = head(&sign(&body), &format!("Content-Length: {len}"));
        let declared = [declared.as_bytes(), &body].concat();
        let chunked = head(&sign(&body), "Transfer-Encoding: chunked");
        let size = format!("{len:x}\r\n");
        let chunked = [chunked.as_bytes(), size.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        for request in [declared, chunked] {
            assert_eq!(
                process::status(&process::exchange(&addr, &request).await),
                "200",
                "{len}"
            );
        }
    }
    drop(go_on);
    let ended = paused.await.unwrap();
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "all took long");
    tokio::time::resume();
    // It was full indeed: what is not sent in one go is refused.
    let mut slow = TcpStream::connect(&addr).await.unwrap();
    let claim = head(&sign(b""), "Content-Length: 20");
    slow.write_all(claim.as_bytes()).await.unwrap();
    slow.write_all(b"ten bytes.").await.unwrap();
    assert_eq!(process::status(&process::answer(&mut slow).await), "503");
}

/// Attack: a body in many small frames. Each is a slice of the 8 KiB that the server read
/// into, so keeping the frames would hold a thousand times what the budget counts.
#[tokio::test]
async fn small_frames_do_not_keep_the_buffers_that_they_came_in() {
    struct ReadBuffer(
        #[expect(dead_code, reason = "it is there to be freed")] Arc<()>,
        Vec<u8>,
    );
    impl AsRef<[u8]> for ReadBuffer {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    // One byte more, and a frame is half of its buffer or larger.
    for (frames, len) in [(1, 10), (2, 10), (1000, 10), (1, 4095), (2, 4095)] {
        let alive = Arc::new(());
        let frame = |_| {
            let buffer = ReadBuffer(alive.clone(), vec![b'x'; 8192]);
            Step::Data(Bytes::from_owner(buffer).slice(..len))
        };
        let script = Script::new((0..frames).map(frame).chain([Step::Stall]));
        assert_eq!(Arc::strong_count(&alive), 1 + frames);
        let mut service = echo(layer());
        let mut stalled = tokio::spawn(service.call(with_signature(sign(BODY), script)));
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut stalled).await;
        assert!(waited.is_err(), "it waits for more");
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "after {frames} frames of {len}"
        );
        stalled.abort();
    }
}

/// Attack: 202 before verification. Nothing is called until the last byte is checked.
#[tokio::test]
async fn the_handler_is_not_called_before_the_body_is_verified() {
    let inner = service_fn(|_: Request<Body>| async {
        panic!("called with a forged body");
        #[allow(unreachable_code)]
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let script = Script::new([data(BODY), Step::Yield, data(b" ")]);
    let refused = outcome(layer().layer(inner), with_signature(sign(BODY), script)).await;
    assert_eq!(refused, Err(RejectionKind::WrongSignature));
}

// ---- however the body is cut into frames

fn cuts() -> impl Strategy<Value = (Vec<u8>, Vec<Step>, bool)> {
    let body = proptest::collection::vec(any::<u8>(), 0..40_000);
    let cuts = proptest::collection::vec((0usize..20_000, 0u8..8), 0..12);
    (body, cuts, any::<bool>()).prop_map(|(body, cuts, broken)| {
        let (mut rest, mut steps) = (body.as_slice(), Vec::new());
        for (len, extra) in cuts {
            // Small frames are as likely as large ones.
            let len = if extra % 2 == 0 { len % 50 } else { len };
            let (frame, tail) = rest.split_at(len.min(rest.len()));
            steps.push(Step::Data(frame.to_vec().into()));
            match extra {
                0 | 1 => steps.push(Step::Data(Bytes::new())),
                2 | 3 => steps.push(Step::Yield),
                _ => {}
            }
            rest = tail;
        }
        steps.push(Step::Data(rest.to_vec().into()));
        steps.push(if broken { Step::Error } else { Step::Trailers });
        (body, steps, broken)
    })
}

proptest! {
    #[test]
    fn verdict_and_bytes_do_not_depend_on_the_framing((body, steps, broken) in cuts(), forged: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let signature = sign(if forged { b"something else" } else { &body });
        let verdict = runtime.block_on(check(with_signature(signature, Script::new(steps))));
        let expected = match (broken, forged) {
            (true, _) => Err(RejectionKind::BodyBroken),
            (false, true) => Err(RejectionKind::WrongSignature),
            (false, false) => Ok(Bytes::from(body)),
        };
        prop_assert_eq!(verdict, expected);
    }
}

// ---- readiness

async fn ready<S>(service: &mut S) -> &mut S
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let Ok(service) = service.ready().await;
    service
}

/// Attack: none, but a clone that was never ready panics behind a concurrency limit.
#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let inner =
        ServiceBuilder::new().concurrency_limit(1).service_fn(
            |request: Request<Body>| async move {
                Ok::<_, Infallible>(Response::new(request.into_body()))
            },
        );
    let mut service = layer().layer(inner);
    for _ in 0..3 {
        let Ok(response) = ready(&mut service).await.call(signed(BODY)).await;
        assert_eq!(text(response).await.as_bytes(), BODY);
    }
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let (inner, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let mut service = layer().layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll_ready =
        |service: &mut _| Service::<Request<Body>>::poll_ready(service, &mut cx).is_ready();
    handle.allow(0);
    assert!(!poll_ready(&mut service));
    handle.allow(1);
    assert!(poll_ready(&mut service));

    let answer = tokio::spawn(service.call(signed(BODY)));
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(Response::new(Body::from("done")));
    assert_eq!(text(answer.await.unwrap().unwrap()).await, "done");
}

/// A refused request gives the readiness it was called with back.
#[tokio::test]
async fn a_refusal_frees_the_place_it_was_ready_for() {
    let inner = ServiceBuilder::new()
        .concurrency_limit(1)
        .service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut service = layer().layer(inner);
    for _ in 0..3 {
        let forged = with_signature("0".repeat(64), Body::from(BODY));
        let Ok(response) = ready(&mut service).await.call(forged).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(outcome(service, signed(BODY)).await.is_ok());
}

#[tokio::test]
async fn errors_of_the_inner_service_are_passed_on() {
    let inner = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("inner failed") });
    let result = layer().layer(inner).oneshot(signed(BODY)).await;
    assert_eq!(result.unwrap_err(), "inner failed");
}

// ---- where it can be put

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

/// `Router::layer` protects all that the router has so far, its 404 and 405 included.
#[tokio::test]
async fn router_layer_protects_routes_and_fallback() {
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(layer())
        .route("/healthz", get(|| async {}));
    assert_eq!(status(app.clone(), signed(BODY)).await, StatusCode::OK);
    for (method, uri, expected) in [
        ("POST", "/webhooks/soundhash", StatusCode::UNAUTHORIZED),
        ("GET", "/webhooks/soundhash", StatusCode::UNAUTHORIZED),
        ("GET", "/elsewhere", StatusCode::UNAUTHORIZED),
        ("GET", "/healthz", StatusCode::OK),
    ] {
        assert_eq!(
            status(app.clone(), request(method, uri)).await,
            expected,
            "{method} {uri}"
        );
    }
}

/// `Router::route_layer` protects the routes only: a stranger learns which there are.
#[tokio::test]
async fn route_layer_leaves_the_404_open() {
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .route_layer(layer())
        .route("/healthz", get(|| async {}));
    assert_eq!(status(app.clone(), signed(BODY)).await, StatusCode::OK);
    for (method, uri, expected) in [
        ("POST", "/webhooks/soundhash", StatusCode::UNAUTHORIZED),
        ("GET", "/webhooks/soundhash", StatusCode::UNAUTHORIZED),
        ("GET", "/elsewhere", StatusCode::NOT_FOUND),
        ("GET", "/healthz", StatusCode::OK),
    ] {
        assert_eq!(
            status(app.clone(), request(method, uri)).await,
            expected,
            "{method} {uri}"
        );
    }
}

#[tokio::test]
async fn one_method_router_can_be_protected_alone() {
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler).layer(layer()))
        .route("/open", post(|| async {}));
    assert_eq!(status(app.clone(), signed(BODY)).await, StatusCode::OK);
    let unsigned = request("POST", "/webhooks/soundhash");
    assert_eq!(
        status(app.clone(), unsigned).await,
        StatusCode::UNAUTHORIZED
    );
    let get = request("GET", "/webhooks/soundhash");
    assert_eq!(status(app.clone(), get).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(app, request("POST", "/open")).await, StatusCode::OK);
}

/// `MethodRouter::route_layer` protects the methods only.
#[tokio::test]
async fn route_layer_of_a_method_router_leaves_the_405_open() {
    let app: Router =
        Router::new().route("/webhooks/soundhash", post(handler).route_layer(layer()));
    assert_eq!(status(app.clone(), signed(BODY)).await, StatusCode::OK);
    let unsigned = request("POST", "/webhooks/soundhash");
    assert_eq!(
        status(app.clone(), unsigned).await,
        StatusCode::UNAUTHORIZED
    );
    let get = request("GET", "/webhooks/soundhash");
    assert_eq!(status(app, get).await, StatusCode::METHOD_NOT_ALLOWED);
}

/// A limit of concurrency in a `layer` call of its own is reached by verified requests only.
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

/// Behind the layer, whatever reads or needs a body still finds the verified one.
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
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let Ok(response) = app.oneshot(request).await;
    assert_eq!(text(response).await, r#"video.processed "Test Video""#);
}

/// A middleware that rewrites the body *outside* of the layer breaks every signature.
#[tokio::test]
async fn a_body_rewritten_outside_of_the_layer_is_refused() {
    async fn reserialize(request: axum::extract::Request, next: Next) -> Response<Body> {
        let (head, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let body = Body::from(serde_json::to_vec_pretty(&value).unwrap());
        next.run(Request::from_parts(head, body)).await
    }
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(layer())
        .layer(middleware::from_fn(reserialize));
    assert_eq!(status(app, signed(BODY)).await, StatusCode::UNAUTHORIZED);
}

/// The reason is there for an outer layer, on every refusal and on nothing else.
#[tokio::test]
async fn an_outer_layer_can_rewrite_a_refusal() {
    async fn teapot(response: Response<Body>) -> Response<Body> {
        match response.extensions().get::<Rejection>() {
            Some(rejection) => {
                let mut own = Response::new(Body::from(rejection.kind().as_str()));
                *own.status_mut() = StatusCode::IM_A_TEAPOT;
                own
            }
            None => response,
        }
    }
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(layer())
        .layer(middleware::map_response(teapot));
    let Ok(response) = app
        .clone()
        .oneshot(request("POST", "/webhooks/soundhash"))
        .await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(text(response).await, "missing_signature");
    assert_eq!(status(app, signed(BODY)).await, StatusCode::OK);
}

// ---- types

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
            "limit: 67108864",
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
    // Not the body, nor the keys that it is checked with.
    assert_eq!(check(&future), "ResponseFuture { .. }");
}
