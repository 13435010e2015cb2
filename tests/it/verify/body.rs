//! How the layer receives bodies: the order of its checks, the limits, the timeout, and the
//! framing.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use proptest::prelude::*;
use soundhash_webhook::{Rejection, RejectionKind, SIGNATURE_HEADER};
use tokio::time::Instant;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use super::{at_once, check, layer, tracked};
use crate::support::{BODY, Script, Step, data, echo, outcome, sign, signed, with_signature};

/// Attack: make the receiver buffer a body that it rejects anyway.
#[tokio::test]
async fn a_bad_header_is_rejected_without_waiting_for_the_body() {
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

/// Attack: declare a terabyte. Reserving that much memory would abort the process.
#[tokio::test]
async fn a_declared_length_over_the_limit_is_rejected_at_once() {
    // The second length does not fit into 64 bits.
    for length in ["1000000000000", "18446744073709551616"] {
        let mut request = with_signature(sign(BODY), Script::new([Step::Stall]));
        let length = HeaderValue::from_static(length);
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
        let rejected = at_once(check(request));
        assert_eq!(rejected, Err(RejectionKind::BodyTooLarge));
    }
}

/// A `Content-Length` that is not a number is ignored, and the layer counts the bytes instead.
#[tokio::test]
async fn a_declared_length_that_is_not_a_number_is_ignored() {
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
        let expected = match allowed {
            true => Ok(Bytes::from(body.clone())),
            false => Err(RejectionKind::BodyTooLarge),
        };
        let service = echo(layer().max_body_size(100));

        let mut declared = signed(body.clone());
        let headers = declared.headers_mut();
        headers.insert(header::CONTENT_LENGTH, len.into());
        assert_eq!(outcome(service.clone(), declared).await, expected);

        let frames = body.chunks(7).map(|it| Step::Data(it.to_vec().into()));
        let streamed = with_signature(sign(&body), Script::new(frames));
        assert_eq!(outcome(service, streamed).await, expected);
    }
}

/// Attack: send an endless chunked body.
#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let endless = Script::new([Step::Endless(Bytes::from_static(&[b'x'; 1024]))]);
    let polls = endless.polls();
    let mut request = with_signature(sign(b""), endless);
    // Over HTTP/2, a rejected body is not drained.
    *request.version_mut() = Version::HTTP_2;
    assert_eq!(check(request).await, Err(RejectionKind::BodyTooLarge));
    assert_eq!(polls.load(Ordering::Relaxed), 1025);
}

/// Attack: send frames without data forever. They never reach a byte limit.
#[tokio::test]
async fn endless_empty_frames_neither_block_the_thread_nor_outlive_the_deadline() {
    let service = echo(layer().body_timeout(Duration::from_millis(50)));
    let frames = Script::new([Step::Endless(Bytes::new())]);
    let rejected = outcome(service, with_signature(sign(b""), frames)).await;
    assert_eq!(rejected, Err(RejectionKind::BodyTimeout));
}

/// Attack: hang up mid-body. A receiver that unwraps the error would panic.
#[tokio::test]
async fn a_body_that_breaks_off_is_a_bad_request_with_its_cause() {
    let script = Script::new([data(BODY), Step::Error]);
    let request = with_signature(sign(BODY), script);
    let Ok(response) = echo(layer()).oneshot(request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::BodyBroken);
    assert_eq!(rejection.to_string(), "body ended early");
    let cause = std::error::Error::source(rejection).unwrap();
    assert_eq!(cause.to_string(), "connection reset");
}

/// Attack: start a body and then stall, as in a Slowloris attack.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_rejected_when_its_time_is_over() {
    // RFC 9110 §15.5.9 asks for `Connection: close`, a header that HTTP/2 does not have.
    for (version, closes) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
        let start = Instant::now();
        let stalled = Script::new([data(b"{"), Step::Stall]);
        let mut request = with_signature(sign(b"{"), stalled);
        *request.version_mut() = version;
        let Ok(response) = echo(layer()).oneshot(request).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        let connection = response.headers().get(header::CONNECTION);
        assert_eq!(connection.is_some_and(|it| it == "close"), closes);
        assert_eq!(connection.is_some(), closes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_any_length_is_a_timeout() {
    for (timeout, expected) in [(Duration::ZERO, 0), (Duration::MAX, 365 * 24 * 60 * 60)] {
        let start = Instant::now();
        let stalled = with_signature(sign(b""), Script::new([Step::Stall]));
        let rejected = outcome(echo(layer().body_timeout(timeout)), stalled).await;
        assert_eq!(rejected, Err(RejectionKind::BodyTimeout));
        assert_eq!(start.elapsed().as_secs(), expected);
    }
}

/// The timeout applies to the whole body, and an occasional byte does not extend it.
#[tokio::test(start_paused = true)]
async fn a_drip_fed_body_is_rejected_when_its_time_is_over() {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    let service = echo(layer().body_timeout(Duration::from_secs(3)));
    let rejected = outcome(service, with_signature(sign(b"x"), body)).await;
    assert_eq!(rejected, Err(RejectionKind::BodyTimeout));
    assert_eq!(start.elapsed().as_secs(), 3);
}

/// A delivery that arrives all at once does not need a timer, so it works outside a runtime.
#[test]
fn a_whole_body_needs_no_runtime() {
    let received = check(with_signature(sign(BODY), Script::new([data(BODY)])));
    assert_eq!(at_once(received), Ok(Bytes::from_static(BODY)));
}

/// Attack: send frames that are small slices of large read buffers. Each frame keeps its whole
/// buffer alive.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_waited_for_keeps_no_buffer_of_the_server() {
    for (frames, len) in [
        (1, 10),
        (2, 10),
        (1000, 10),
        (1, 4_300),
        (2, 4_300),
        (1, 8_192),
    ] {
        let alive = Arc::new(());
        let frame = |_| Step::Data(tracked(&alive, 8_192).slice(..len));
        let script = Script::new((0..frames).map(frame).chain([Step::Stall]));
        assert_eq!(Arc::strong_count(&alive), 1 + frames);
        let mut service = echo(layer());
        let stalled = tokio::spawn(service.call(with_signature(sign(BODY), script)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!stalled.is_finished(), "it waits for more");
        assert_eq!(Arc::strong_count(&alive), 1, "after {frames} of {len}");
        stalled.abort();
    }
}

/// Attack: send endless empty frames, which never make Tokio interrupt the task.
#[tokio::test(start_paused = true)]
async fn a_poll_reads_a_bounded_number_of_frames() {
    let endless = Script::new([Step::Endless(Bytes::new())]);
    let polls = endless.polls();
    let mut service = echo(layer());
    let mut response = pin!(service.call(with_signature(sign(b""), endless)));
    let once = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_ready()));
    assert!(!tokio::task::unconstrained(once).await);
    assert_eq!(polls.load(Ordering::Relaxed), 128);
}

/// Attack: act before verification. The handler is not called until the last byte is verified.
#[tokio::test]
async fn the_handler_is_not_called_before_the_body_is_verified() {
    let inner = service_fn(|_: Request<Body>| async {
        panic!("called with a forged body");
        #[allow(unreachable_code)]
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let script = Script::new([data(BODY), Step::Yield, data(b" ")]);
    let rejected = outcome(layer().layer(inner), with_signature(sign(BODY), script)).await;
    assert_eq!(rejected, Err(RejectionKind::WrongSignature));
}

fn cuts() -> impl Strategy<Value = (Vec<u8>, Vec<Step>, bool)> {
    let body = proptest::collection::vec(any::<u8>(), 0..40_000);
    let cuts = proptest::collection::vec((0usize..20_000, 0u8..8), 0..12);
    (body, cuts, any::<bool>()).prop_map(|(body, cuts, broken)| {
        let (mut rest, mut steps) = (body.as_slice(), Vec::new());
        for (len, extra) in cuts {
            // Makes small frames as likely as large ones.
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
