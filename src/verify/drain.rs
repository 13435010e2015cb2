//! Reads the remainder of a rejected body, so that its sender can read the response.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::body::Body;
use http::{Version, header, request};
use http_body::Body as _;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::body::FRAMES_PER_POLL;

/// The maximum length of a body that is drained.
const MAX_LEN: u64 = 8 * 1024 * 1024;
/// The longest time that a drain may take, which is enough to read 4 MiB at 7 Mbit/s.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The length of the longest rejected body after which the connection stays open. After a longer
/// one, the connection would keep its enlarged read buffer until the next request.
const MAX_KEPT_ALIVE: u64 = 64 * 1024;

/// Returns whether the body may be polled after the request was rejected because of its head.
///
/// A sender with `Expect: 100-continue` does not send the body until the server responds with a
/// 100, which the server does when the body is first polled. The server should not ask for a
/// rejected body.
pub(super) fn may_poll(head: &request::Parts) -> bool {
    !head.headers.contains_key(header::EXPECT)
}

/// Reads and discards the remainder of a rejected body, of which `received` bytes have already been
/// read, while the response is sent. Returns whether the connection can be reused.
///
/// If the body is not read, the server closes the connection. The sender, or a proxy in front of
/// the server, then often gets a broken pipe instead of the response, and retries as if the network
/// had failed.
///
/// Bytes that have already arrived are read immediately, and a task reads the rest. Chunked bodies
/// are not drained, because a chunk's size line can have any length, and hyper reads it without
/// yielding a frame that could be counted here. HTTP/2 does not need draining, because it can
/// reject the body of a single stream.
pub(super) fn drain(
    body: Body,
    received: usize,
    version: Version,
    drains: &Arc<Semaphore>,
    cx: &mut Context<'_>,
) -> bool {
    if version >= Version::HTTP_2 {
        return true;
    }
    let Some(len) = body.size_hint().exact().filter(|&len| len <= MAX_LEN) else {
        return false;
    };
    let keep_alive = keeps_alive(len.saturating_add(received as u64));
    let mut drain = Drain { body, left: len };
    match drain.poll(cx) {
        Poll::Ready(drained) => drained && keep_alive,
        Poll::Pending => {
            // Without a runtime, no task can read the rest.
            let slot = drains.clone().try_acquire_owned();
            let (Ok(slot), Ok(runtime)) = (slot, Handle::try_current()) else {
                return false;
            };
            runtime.spawn(async move {
                let _slot = slot;
                // The body is dropped whether the drain finishes or times out.
                let _ = timeout(MAX_TIME, poll_fn(|cx| drain.poll(cx))).await;
            });
            keep_alive
        }
    }
}

/// Returns whether the connection can be reused after a rejected body of length `len`.
pub(super) fn keeps_alive(len: u64) -> bool {
    len <= MAX_KEPT_ALIVE
}

struct Drain {
    body: Body,
    left: u64,
}

impl Drain {
    /// Resolves to `true` at the end of the body, and to `false` if the body fails or is longer than
    /// declared.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        for _ in 0..FRAMES_PER_POLL {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => {
                    let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                    match self.left.checked_sub(len) {
                        Some(left) => self.left = left,
                        None => return Poll::Ready(false),
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
