//! The memory limit that all unfinished bodies share.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{self, TRANSFER_ENCODING},
};
use http_body_util::channel::{Channel, Sender};
use soundhash_webhook::{RejectionKind, SoundHashWebhookLayer};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{Service, ServiceExt};

use super::layer;
use crate::{
    process::{exchange, status},
    support::{BODY, Script, Step, data, echo, outcome, sign, signed, with_signature},
};

const KIB: usize = 1024;

const HTTP_2: Version = Version::HTTP_2;

/// The memory that is counted for each body in addition to its bytes.
const OVERHEAD: usize = 32 * KIB;

/// The size of a hyper read buffer.
const READ_BUFFER: usize = 408 * KIB;

/// Returns an HTTP/2 request, for which no read buffer is counted. Its body stalls after 10 KiB.
fn stalled() -> Request<Script> {
    let steps = [Step::Data(vec![b'x'; 10 * KIB].into()), Step::Stall];
    let mut request = with_signature(sign(BODY), Script::new(steps));
    *request.version_mut() = HTTP_2;
    request
}

/// Sends two of these requests at the same time, and returns how many were evicted.
async fn evicted_of_two(max_buffered: usize, request: impl Fn() -> Request<Script>) -> usize {
    let service = echo(layer().max_buffered(max_buffered));
    let waiting = [(); 2].map(|()| tokio::spawn(outcome(service.clone(), request())));
    sleep(Duration::from_millis(1)).await;
    waiting.iter().filter(|it| it.is_finished()).count()
}

/// Returns a layer with room for this many unfinished bodies of this length.
fn with_room_for(bodies: usize, len: usize) -> SoundHashWebhookLayer {
    layer().max_buffered(bodies * (len + OVERHEAD))
}

type Outcome = JoinHandle<Result<Bytes, RejectionKind>>;

/// Starts a request whose body is sent piece by piece. For a chunked body over HTTP/1, the server's
/// whole read buffers are counted.
async fn begin<S>(
    service: &S,
    version: Version,
    body: &[u8],
    first: usize,
) -> (Sender<Bytes>, Outcome)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let (mut sender, channel) = Channel::<Bytes>::new(16);
    let mut request = with_signature(sign(body), Body::new(channel));
    *request.version_mut() = version;
    if version == Version::HTTP_11 {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    let outcome = tokio::spawn(outcome(service.clone(), request));
    if first > 0 {
        send(&mut sender, &body[..first]).await;
    }
    (sender, outcome)
}

/// Sends a piece of a body and waits until it has been received.
async fn send(sender: &mut Sender<Bytes>, piece: &[u8]) {
    let piece = Bytes::copy_from_slice(piece);
    sender.send_data(piece).await.expect("it is waited for");
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_that_of_all_bodies_together() {
    let service = echo(with_room_for(4, 10 * KIB));
    let body = vec![b'x'; 10 * KIB + 1];
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(begin(&service, HTTP_2, &body, 10 * KIB).await);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(stalled.iter().all(|(_, outcome)| !outcome.is_finished()));
    // The fifth body fits only if another one is evicted.
    let _fifth = begin(&service, HTTP_2, &body, 10 * KIB).await;
    let finished = stalled.iter().filter(|(_, outcome)| outcome.is_finished());
    assert_eq!(finished.count(), 1);
    let (_, first) = stalled.remove(0);
    assert_eq!(first.await.unwrap(), Err(RejectionKind::BufferFull));
}

/// Attack: fill the memory, so that a delivery in progress is evicted.
#[tokio::test(start_paused = true)]
async fn the_body_that_has_gone_longest_without_doubling_is_evicted() {
    let service = echo(layer().max_buffered(216 * KIB));
    let body = vec![b'x'; 64 * KIB];
    let (mut first, first_outcome) = begin(&service, HTTP_2, &body, 16 * KIB).await;
    sleep(Duration::from_millis(100)).await;
    // The second body starts later and with more data, but then only trickles.
    let (mut second, second_outcome) = begin(&service, HTTP_2, &body, 32 * KIB).await;
    sleep(Duration::from_millis(100)).await;
    send(&mut second, b"x").await;
    send(&mut first, &body[16 * KIB..40 * KIB]).await;
    send(&mut second, b"x").await;
    let (_third, third_outcome) = begin(&service, HTTP_2, &body, 63 * KIB).await;
    assert!(second_outcome.is_finished());
    let evicted = Err(RejectionKind::BufferFull);
    assert_eq!(second_outcome.await.unwrap(), evicted);
    send(&mut first, &body[40 * KIB..]).await;
    drop(first);
    assert_eq!(first_outcome.await.unwrap(), Ok(Bytes::from(body)));
    assert!(!third_outcome.is_finished());
}

/// Attack: occupy the memory with bodies that send very little. Each of them is polled repeatedly,
/// and new ones arrive while a delivery waits for its next packets.
#[tokio::test(start_paused = true)]
async fn a_few_bytes_do_not_evict_a_delivery_in_progress() {
    let service = echo(layer().max_buffered(2 * 1024 * KIB));
    let mut attackers = Vec::new();
    for _ in 0..2 {
        attackers.push(begin(&service, Version::HTTP_11, BODY, 0).await);
        sleep(Duration::from_millis(1)).await;
    }
    let body = vec![b'x'; 40 * KIB];
    let (mut honest, honest_outcome) = begin(&service, HTTP_2, &body, 14_600).await;
    // The honest sender is on a satellite link.
    for round in 0..60 {
        for (sender, _) in &mut attackers {
            // The body keeps doubling, starting at one byte. Sending fails if the body was evicted.
            let len = (1 << (round / 5)) / 2;
            let _ = sender.send_data(vec![b'x'; len].into()).await;
        }
        sleep(Duration::from_millis(10)).await;
        attackers.push(begin(&service, Version::HTTP_11, BODY, 0).await);
    }
    send(&mut honest, &body[14_600..]).await;
    drop(honest);
    assert_eq!(honest_outcome.await.unwrap(), Ok(Bytes::from(body)));
    let evicted = attackers.iter().filter(|(_, it)| it.is_finished());
    assert_eq!(evicted.count(), attackers.len() - 2);
}

/// Attack: while a delivery waits for its first packet, send chunked bodies of one byte each, for
/// which whole read buffers are counted.
#[tokio::test(start_paused = true)]
async fn chunked_bodies_do_not_evict_a_delivery_that_has_not_begun() {
    let service = echo(layer().max_buffered(4 * 1024 * KIB));
    let (mut honest, honest_outcome) = begin(&service, HTTP_2, BODY, 0).await;
    let mut attackers = Vec::new();
    for _ in 0..90 {
        attackers.push(begin(&service, Version::HTTP_11, BODY, 1).await);
        sleep(Duration::from_millis(10)).await;
    }
    send(&mut honest, BODY).await;
    drop(honest);
    let outcome = honest_outcome.await.unwrap();
    assert_eq!(outcome, Ok(Bytes::from_static(BODY)));
    let open = attackers.iter().filter(|(_, it)| !it.is_finished());
    assert_eq!(open.count(), 4);
}

/// Attack: fill the memory with requests without a body, and keep sending new ones, while a chunked
/// delivery waits for its next packet.
#[tokio::test(start_paused = true)]
async fn requests_without_a_body_do_not_evict_a_chunked_delivery() {
    let service = echo(with_room_for(256, 0));
    let mut attackers = Vec::new();
    for _ in 0..256 {
        attackers.push(begin(&service, HTTP_2, BODY, 0).await);
    }
    let (mut honest, honest_outcome) = begin(&service, Version::HTTP_11, BODY, 1).await;
    for _ in 0..256 {
        attackers.push(begin(&service, HTTP_2, BODY, 0).await);
        sleep(Duration::from_millis(1)).await;
    }
    send(&mut honest, &BODY[1..]).await;
    drop(honest);
    let outcome = honest_outcome.await.unwrap();
    assert_eq!(outcome, Ok(Bytes::from_static(BODY)));
    assert!(attackers[0].1.is_finished());
}

/// Attack: occupy the memory with bodies that have made progress, leaving no room for new
/// deliveries.
#[tokio::test(start_paused = true)]
async fn bodies_in_progress_leave_half_of_the_memory_to_new_ones() {
    let service = echo(with_room_for(8, 10 * KIB));
    let body = vec![b'x'; 40 * KIB];
    let mut attackers = Vec::new();
    for _ in 0..8 {
        attackers.push(begin(&service, HTTP_2, &body, 10 * KIB).await);
    }
    let (_new, new_outcome) = begin(&service, HTTP_2, &body, 1).await;
    let evicted: Vec<bool> = attackers.iter().map(|(_, it)| it.is_finished()).collect();
    assert_eq!(evicted.iter().filter(|it| **it).count(), 1);
    assert!(evicted[0] && !new_outcome.is_finished());
}

/// A body that would not fit even if others were evicted does not evict any.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_evicted_itself_evicts_no_other() {
    let service = echo(layer().max_buffered(328 * KIB));
    let body = vec![b'x'; 200 * KIB];
    let mut bodies = Vec::new();
    for len in [20 * KIB, 60 * KIB, 150 * KIB] {
        bodies.push(begin(&service, HTTP_2, &body, len).await);
        sleep(Duration::from_millis(10)).await;
    }
    send(&mut bodies[1].0, b"x").await;
    let evicted: Vec<bool> = bodies.iter().map(|(_, it)| it.is_finished()).collect();
    assert_eq!(evicted, [false, true, false]);
}

/// Attack: send large heads, which the server keeps while it waits for the bodies.
#[tokio::test(start_paused = true)]
async fn a_large_head_counts() {
    for (padding, expected) in [(8_000 - 200, 0), (100_000, 1)] {
        let padded = || {
            let mut request = stalled();
            let padding = "x".repeat(padding).parse().expect("a value");
            request.headers_mut().insert("padding", padding);
            request
        };
        assert_eq!(
            evicted_of_two(200 * KIB, padded).await,
            expected,
            "{padding}"
        );
    }
}

/// Attack: repeatedly grow a body by slightly more than the free memory.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_double_is_evicted_itself() {
    let service = echo(with_room_for(2, 40 * KIB));
    let body = vec![b'x'; 80 * KIB];
    let (mut drip, drip_outcome) = begin(&service, HTTP_2, &body, 40 * KIB).await;
    sleep(Duration::from_millis(100)).await;
    let (_other, other_outcome) = begin(&service, HTTP_2, &body, 40 * KIB).await;
    send(&mut drip, b"x").await;
    assert_eq!(drip_outcome.await.unwrap(), Err(RejectionKind::BufferFull));
    assert!(!other_outcome.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_evicted_body_is_rejected_at_once_with_retry_after() {
    let service = echo(with_room_for(1, 10 * KIB));
    let start = Instant::now();
    let first = tokio::spawn(service.clone().oneshot(stalled()));
    sleep(Duration::from_millis(1)).await;
    let second = tokio::spawn(service.clone().oneshot(stalled()));
    let Ok(response) = first.await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 1);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(!second.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_gives_its_room_back() {
    let service = echo(with_room_for(1, 10 * KIB).body_timeout(Duration::from_secs(1)));
    let body = vec![b'x'; 10 * KIB];
    for _ in 0..3 {
        let (sender, complete) = begin(&service, HTTP_2, &body, body.len()).await;
        drop(sender);
        assert!(complete.await.unwrap().is_ok());
        let (sender, expired) = begin(&service, HTTP_2, &body, 1).await;
        assert_eq!(expired.await.unwrap(), Err(RejectionKind::BodyTimeout));
        drop(sender);
        let (_sender, dropped) = begin(&service, HTTP_2, &body, 1).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
    }
}

/// A delivery that arrives in one piece does not need room in the buffer.
#[tokio::test(start_paused = true)]
async fn a_complete_body_is_served_whatever_is_left() {
    let service = echo(layer().max_buffered(0));
    let whole = outcome(service.clone(), signed(vec![b'x'; 1000])).await;
    assert!(whole.is_ok());
    let frames = BODY.chunks(1).map(|byte| Step::Data(byte.to_vec().into()));
    let frames = with_signature(sign(BODY), Script::new(frames));
    assert!(outcome(service.clone(), frames).await.is_ok());
    let waits = with_signature(sign(BODY), Script::new([data(BODY), Step::Yield]));
    let rejected = outcome(service, waits).await;
    assert_eq!(rejected, Err(RejectionKind::BufferFull));
}

/// The server's read buffer counts toward the limit, but a single body fits even if its read buffer
/// exceeds the limit.
#[tokio::test(start_paused = true)]
async fn a_single_body_may_fill_the_memory() {
    let pieces = |len: usize| {
        let body = vec![b'x'; len];
        let signature = sign(&body);
        let steps = [Step::Yield, Step::Data(body.into()), Step::Yield];
        with_signature(signature, Script::new(steps))
    };
    let service = echo(layer().max_buffered(100 * KIB));
    assert!(outcome(service.clone(), pieces(100 * KIB)).await.is_ok());
    let rejected = outcome(service, pieces(100 * KIB + 1)).await;
    assert_eq!(rejected, Err(RejectionKind::BufferFull));
}

/// The buffers that hyper holds for an HTTP/1 connection are counted: twice the received bytes for
/// a body with a declared length, and two full read buffers for any other body.
#[tokio::test(start_paused = true)]
async fn the_read_buffer_of_the_server_counts() {
    let len = 10 * KIB;
    let steps = || [Step::Data(vec![b'x'; len].into()), Step::Stall];
    let declared = || with_signature(sign(BODY), Script::new(steps()).declaring(len as u64));
    let chunked = || {
        let mut request = with_signature(sign(BODY), Script::new(steps()));
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        request
    };
    for (request, cost) in [
        (
            &declared as &dyn Fn() -> Request<Script>,
            3 * len + OVERHEAD,
        ),
        (&chunked, len + 2 * READ_BUFFER + OVERHEAD),
    ] {
        assert_eq!(evicted_of_two(2 * cost, request).await, 0, "{cost}");
        assert_eq!(evicted_of_two(2 * cost - 1, request).await, 1, "{cost}");
    }
}

/// hyper rejects a head that fills its read buffer.
#[tokio::test]
async fn the_read_buffer_of_hyper_has_the_expected_size() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, Router::new()).await });
    let start = "GET / HTTP/1.1\r\nHost: x\r\nFill: ";
    for (end, expected) in [("\r\n\r\n", "404"), ("", "431")] {
        let fill = "x".repeat(READ_BUFFER - start.len() - end.len());
        let request = [start, &fill, end].concat();
        let head = exchange(&addr, request.as_bytes()).await;
        assert_eq!(status(&head), expected);
    }
}
