//! What becomes of the body of a refused request: read and thrown away, for its sender to read
//! the answer, but not without end.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body_util::channel::Channel;
use soundhash_webhook::{RejectionKind, SoundHashWebhookLayer};
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep},
};

use crate::support::{BODY, SECRET, Script, Step, data, echo, outcome, sign, with_signature};

const MIB: usize = 1024 * 1024;

fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

/// A chunk of an endless body.
fn chunk() -> Bytes {
    Bytes::from_static(&[b'x'; 8 * 1024])
}

/// Refused by its head.
async fn refused(request: Request<Script>) {
    let kind = outcome(echo(layer()), request).await.unwrap_err();
    assert_eq!(kind, RejectionKind::MissingSignature);
}

/// How often a refused body was polled until it was dropped.
async fn polled(polls: &Arc<AtomicUsize>) -> usize {
    while Arc::strong_count(polls) > 1 {
        yield_now().await;
    }
    polls.load(Ordering::Relaxed)
}

/// An unsigned request is answered at the first poll, whatever its body does, and a runtime is
/// not needed for that.
#[test]
fn a_refusal_does_not_wait_for_the_body() {
    for step in [Step::Stall, Step::Endless(chunk()), Step::Error] {
        let refusal = pin!(refused(Request::new(Script::new([step]))));
        let answered = refusal.poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(answered, Poll::Ready(()));
    }
}

/// Attack: an unsigned body without end.
#[tokio::test]
async fn no_more_than_eight_mebibytes_are_read() {
    let body = Script::new([Step::Endless(chunk())]);
    let polls = body.polls();
    refused(Request::new(body)).await;
    // The last chunk is the one too many.
    assert_eq!(polled(&polls).await, 8 * MIB / chunk().len() + 1);
}

/// Attack: send nothing, and keep the connection.
#[tokio::test(start_paused = true)]
async fn a_refused_body_that_stalls_is_dropped_after_five_seconds() {
    let body = Script::new([data(BODY), Step::Stall]);
    let polls = body.polls();
    let start = Instant::now();
    refused(Request::new(body)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(Arc::strong_count(&polls), 2);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(Arc::strong_count(&polls), 1);
}

/// Attack: one byte now and then, or frames without any.
#[tokio::test(start_paused = true)]
async fn a_drip_wins_no_time() {
    let (mut drip, body) = Channel::<Bytes>::new(1);
    let start = Instant::now();
    let kind = outcome(echo(layer()), Request::new(body)).await;
    assert_eq!(kind, Err(RejectionKind::MissingSignature));
    while drip.send_data(Bytes::from_static(b"x")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn frames_without_data_neither_keep_the_thread_nor_have_more_time() {
    let body = Script::new([Step::Endless(Bytes::new())]);
    let polls = body.polls();
    refused(Request::new(body)).await;
    assert!(
        polls.load(Ordering::Relaxed) < 1_000,
        "others have their turn"
    );
    // Each counts as 64 bytes.
    assert_eq!(polled(&polls).await, 8 * MIB / 64 + 1);
}

/// Attack: fill memory with what is refused anyway.
#[tokio::test(start_paused = true)]
async fn nothing_of_it_is_kept() {
    struct Counted(
        #[expect(dead_code, reason = "it is there to be freed")] Arc<()>,
        [u8; 1024],
    );
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    let alive = Arc::new(());
    let frames = (0..1000).map(|_| {
        let frame = Counted(alive.clone(), [b'x'; 1024]);
        Step::Data(Bytes::from_owner(frame))
    });
    let body = Script::new(frames.chain([Step::Stall]));
    let polls = body.polls();
    refused(Request::new(body)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&polls), 2, "it is still waited for");
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// What is there at once costs neither a task nor a timer.
#[tokio::test]
async fn a_whole_body_is_drained_in_place() {
    let runtime = Handle::current().metrics();
    for steps in [vec![], vec![data(BODY)], vec![data(BODY), Step::Error]] {
        refused(Request::new(Script::new(steps))).await;
        assert_eq!(runtime.num_alive_tasks(), 0);
    }
    refused(Request::new(Script::new([Step::Stall]))).await;
    assert_eq!(runtime.num_alive_tasks(), 1, "so that the check can fail");
}

/// A server sends the 100 at the first poll, and a refused sender must not be told to go on.
#[tokio::test]
async fn a_body_that_waits_for_a_100_is_not_asked_for() {
    let expect = HeaderValue::from_static("100-continue");
    for (signature, length, kind) in [
        ("none", 1, RejectionKind::MalformedSignature),
        (&*sign(BODY), usize::MAX, RejectionKind::BodyTooLarge),
    ] {
        let body = Script::new([data(BODY)]);
        let polls = body.polls();
        let mut request = with_signature(signature, body);
        let headers = request.headers_mut();
        headers.insert(header::EXPECT, expect.clone());
        headers.insert(header::CONTENT_LENGTH, length.into());
        assert_eq!(outcome(echo(layer()), request).await, Err(kind));
        assert_eq!(polled(&polls).await, 0);
    }
}

/// There, a stream can be refused without its connection.
#[tokio::test]
async fn http2_has_no_need_of_it() {
    let body = Script::new([data(BODY)]);
    let polls = body.polls();
    let mut request = Request::new(body);
    *request.version_mut() = Version::HTTP_2;
    refused(request).await;
    assert_eq!(polled(&polls).await, 0);
}

/// A body that is refused while it is received is read on, too; one that has ended is not
/// asked again.
#[tokio::test(start_paused = true)]
async fn what_is_refused_after_its_head_is_drained_if_more_may_come() {
    let service = echo(
        layer()
            .max_body_size(100)
            .body_timeout(Duration::from_secs(1)),
    );
    let full = echo(layer().max_buffered(0));
    let frame = || Step::Data(Bytes::from_static(&[b'x'; 60]));
    let long = vec![frame(), frame(), Step::Stall];
    let stalled = vec![frame(), Step::Stall];
    let whole = vec![frame()];
    let broken = vec![frame(), Step::Error, Step::Stall];
    for (service, steps, kind, drained) in [
        (&service, long, RejectionKind::BodyTooLarge, true),
        (&service, stalled.clone(), RejectionKind::BodyTimeout, true),
        (&full, stalled, RejectionKind::BufferFull, true),
        (&service, whole, RejectionKind::WrongSignature, false),
        (&service, broken, RejectionKind::BodyBroken, false),
    ] {
        let body = Script::new(steps);
        let polls = body.polls();
        let request = with_signature(sign(BODY), body);
        assert_eq!(outcome(service.clone(), request).await, Err(kind));
        assert_eq!(Arc::strong_count(&polls) > 1, drained, "{kind:?}");
        sleep(Duration::from_millis(5_100)).await;
        assert_eq!(Arc::strong_count(&polls), 1, "{kind:?}");
    }
}

/// So is one that nobody could look a secret up for.
#[tokio::test]
async fn a_body_behind_a_look_up_that_fails_is_drained_unless_it_waits_for_a_100() {
    struct Failing;
    impl soundhash_webhook::SecretProvider for Failing {
        async fn secrets(
            &self,
            _: &http::request::Parts,
        ) -> Result<Option<soundhash_webhook::Secrets>, axum::BoxError> {
            Err("down".into())
        }
    }
    let layer = SoundHashWebhookLayer::with_provider(Failing);
    for (expects, expected) in [(false, 2), (true, 0)] {
        let body = Script::new([data(BODY)]);
        let polls = body.polls();
        let mut request = with_signature(sign(BODY), body);
        if expects {
            let value = HeaderValue::from_static("100-continue");
            request.headers_mut().insert(header::EXPECT, value);
        }
        let refused = outcome(echo(layer.clone()), request).await;
        assert_eq!(refused, Err(RejectionKind::SecretsUnavailable));
        assert_eq!(polled(&polls).await, expected);
    }
}

/// The body type of axum, and so of every route.
#[tokio::test]
async fn axums_body_is_drained() {
    let body = Script::new([data(BODY)]);
    let polls = body.polls();
    let request = Request::new(Body::new(body));
    let kind = outcome(echo(layer()), request).await;
    assert_eq!(kind, Err(RejectionKind::MissingSignature));
    assert_eq!(polled(&polls).await, 2);
}
