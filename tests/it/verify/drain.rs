//! Draining: the layer discards a rejected body, within limits, so that its sender can read the
//! response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, Version, header};
use http_body_util::channel::Channel;
use soundhash_webhook::{Rejection, RejectionKind};
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep},
};
use tower::ServiceExt;

use super::{layer, tracked};
use crate::support::{BODY, Script, Step, data, echo, outcome, sign, with_signature};

const MIB: u64 = 1024 * 1024;

/// Returns a frame of an endless body.
fn frame() -> Bytes {
    Bytes::from_static(&[b'x'; 8 * 1024])
}

/// Returns a body that declares this length, as a server reports it.
fn declared(len: u64, steps: impl IntoIterator<Item = Step>) -> Script {
    Script::new(steps).declaring(len)
}

/// Returns the response to a request without a signature that has this body.
async fn response(body: Script) -> Response<Body> {
    let Ok(response) = echo(layer()).oneshot(Request::new(body)).await;
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::MissingSignature);
    response
}

/// Waits until a rejected body is dropped, and returns how often it was polled.
async fn polled(polls: &Arc<AtomicUsize>) -> usize {
    while Arc::strong_count(polls) > 1 {
        yield_now().await;
    }
    polls.load(Ordering::Relaxed)
}

fn closes(response: &Response<Body>) -> bool {
    let value = response.headers().get(header::CONNECTION);
    value.is_some_and(|value| value == "close")
}

/// Attack: send a body without a declared length, such as a chunked one, or one that is longer than
/// any honest body. hyper reads an endless chunk size without ever yielding a frame.
#[tokio::test]
async fn a_body_without_a_declared_length_or_over_8_mib_is_not_read() {
    let endless = || Script::new([Step::Endless(frame())]);
    for body in [endless(), endless().declaring(8 * MIB + 1)] {
        let polls = body.polls();
        assert!(closes(&response(body).await));
        assert_eq!(polled(&polls).await, 0);
    }
}

/// Attack: send a body that is longer than declared. Real servers do not pass on the excess.
#[tokio::test]
async fn no_more_than_the_declared_length_is_read() {
    let body = declared(8 * MIB, [Step::Endless(frame())]);
    let polls = body.polls();
    response(body).await;
    // The last frame that is read exceeds the limit.
    assert_eq!(polled(&polls).await, 1024 + 1);
}

/// Attack: send most of a body before it is rejected, which grows the server's read buffer, and
/// then keep the connection open. The part that was received counts, even if the rest has not
/// arrived.
#[tokio::test]
async fn a_connection_does_not_keep_the_buffer_of_a_large_body() {
    for (len, closed) in [(10 * 1024, false), (70 * 1024, true)] {
        for last in [Step::Stall, data(BODY)] {
            let received = Step::Data(vec![b'x'; len].into());
            let body = declared(BODY.len() as u64, [received, Step::Yield, last]);
            let service = echo(layer().max_buffered(len - 1));
            let request = with_signature(sign(BODY), body);
            let Ok(response) = service.oneshot(request).await;
            let rejection = response.extensions().get::<Rejection>().unwrap();
            assert_eq!(rejection.kind(), RejectionKind::BufferFull);
            assert_eq!(closes(&response), closed, "{len}");
        }
    }
}

/// Attack: send nothing, and keep the connection open.
#[tokio::test(start_paused = true)]
async fn a_rejected_body_that_stalls_is_dropped_after_five_seconds() {
    let body = declared(100, [data(BODY), Step::Stall]);
    let polls = body.polls();
    let start = Instant::now();
    response(body).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(Arc::strong_count(&polls), 2);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(Arc::strong_count(&polls), 1);
}

/// Attack: send an occasional byte to keep the drain going.
#[tokio::test(start_paused = true)]
async fn a_drip_does_not_extend_the_drain() {
    let (mut drip, body) = Channel::<Bytes>::new(1);
    let body = declared(100, [Step::Body(Body::new(body))]);
    let start = Instant::now();
    response(body).await;
    while drip.send_data(Bytes::from_static(b"x")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 5);
}

/// Attack: send frames without data forever.
#[tokio::test]
async fn empty_frames_do_not_keep_the_thread() {
    let body = declared(100, [Step::Endless(Bytes::new())]);
    let polls = body.polls();
    response(body).await;
    assert_eq!(polls.load(Ordering::Relaxed), 128);
    yield_now().await;
    let read_on = polls.load(Ordering::Relaxed);
    assert!(read_on > 128 && read_on.is_multiple_of(128), "{read_on}");
}

/// Attack: exhaust memory with bodies that are rejected anyway.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_rejected_body_is_kept() {
    let alive = Arc::new(());
    let frames = (0..1000).map(|_| Step::Data(tracked(&alive, 100)));
    let body = declared(MIB, frames.chain([Step::Stall]));
    let polls = body.polls();
    response(body).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&polls), 2, "it is still waited for");
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Attack: have many bodies drained at once. Each costs the server a read buffer of 408 KiB.
#[tokio::test(start_paused = true)]
async fn sixteen_bodies_are_drained_at_a_time() {
    let service = echo(layer());
    let reject = async || {
        let body = declared(100, [Step::Stall]);
        let polls = body.polls();
        let Ok(response) = service.clone().oneshot(Request::new(body)).await;
        (polls, closes(&response))
    };
    let mut drained = Vec::new();
    for _ in 0..16 {
        let (polls, closes) = reject().await;
        assert!(!closes);
        assert_eq!(Arc::strong_count(&polls), 2);
        drained.push(polls);
    }
    let (polls, closes) = reject().await;
    assert!(closes, "the rest of it is not read");
    assert_eq!(Arc::strong_count(&polls), 1);

    sleep(Duration::from_millis(5_100)).await;
    assert!(drained.iter().all(|polls| Arc::strong_count(polls) == 1));
    let (polls, closes) = reject().await;
    assert!(!closes);
    assert_eq!(Arc::strong_count(&polls), 2, "there are free slots again");
}

/// Attack: grow the read buffers of many connections, by sending a large body on one after the
/// other.
#[tokio::test(start_paused = true)]
async fn a_large_rejected_body_costs_its_connection() {
    for (len, expected) in [(64 * 1024, false), (64 * 1024 + 1, true)] {
        let drained = response(declared(len, [Step::Stall])).await;
        assert_eq!(closes(&drained), expected);
        let received = vec![b'x'; usize::try_from(len).unwrap()];
        let forged = with_signature(sign(BODY), Body::from(received));
        let Ok(received) = echo(layer()).oneshot(forged).await;
        assert_eq!(closes(&received), expected);
    }
}

/// Draining bytes that have already arrived takes neither a task nor a timer.
#[tokio::test]
async fn a_whole_body_is_drained_in_place() {
    let runtime = Handle::current().metrics();
    for steps in [vec![], vec![data(BODY)], vec![data(BODY), Step::Error]] {
        response(declared(100, steps)).await;
        assert_eq!(runtime.num_alive_tasks(), 0);
    }
    response(declared(100, [Step::Stall])).await;
    assert_eq!(runtime.num_alive_tasks(), 1, "so that the check can fail");
}

/// An HTTP/2 server can reject a stream and still keep the connection.
#[tokio::test]
async fn http2_bodies_are_not_drained() {
    let body = declared(100, [data(BODY)]);
    let polls = body.polls();
    let mut request = Request::new(body);
    *request.version_mut() = Version::HTTP_2;
    let Ok(response) = echo(layer()).oneshot(request).await;
    assert!(!response.headers().contains_key(header::CONNECTION));
    assert_eq!(polled(&polls).await, 0);
}

/// A body that is rejected while being received is drained, unless it has already ended.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_rejected_after_its_head_is_drained_if_more_may_come() {
    let service = echo(
        layer()
            .max_body_size(100)
            .body_timeout(Duration::from_secs(1)),
    );
    let full = echo(layer().max_buffered(0));
    let frame = || Step::Data(Bytes::from_static(&[b'x'; 60]));
    let long = vec![frame(), frame(), Step::Stall];
    let stalled = || vec![frame(), Step::Stall];
    let whole = vec![frame()];
    let broken = vec![frame(), Step::Error, Step::Stall];
    for (service, steps, kind, drained) in [
        (&service, long, RejectionKind::BodyTooLarge, true),
        (&service, stalled(), RejectionKind::BodyTimeout, true),
        (&full, stalled(), RejectionKind::BufferFull, true),
        (&service, whole, RejectionKind::WrongSignature, false),
        (&service, broken, RejectionKind::BodyBroken, false),
    ] {
        let body = declared(1000, steps);
        let polls = body.polls();
        let request = with_signature(sign(BODY), body);
        assert_eq!(outcome(service.clone(), request).await, Err(kind));
        assert_eq!(Arc::strong_count(&polls) > 1, drained, "{kind:?}");
        sleep(Duration::from_millis(5_100)).await;
        assert_eq!(Arc::strong_count(&polls), 1, "{kind:?}");
    }
}
