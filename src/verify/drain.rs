use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::{Version, header, request};
use http_body::Body;
use tokio::{runtime::Handle, task::coop::cooperative, time::timeout};

/// How much of a refused body is read, and for how long: enough for a body of 4 MiB at 7 Mbit/s.
/// None of it is kept.
const MOST: usize = 8 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(5);

/// What a frame counts at least, since each is work, and there can be empty ones for ever.
const LEAST: usize = 64;

/// The body of a request that was refused for its head, if it may be asked for.
///
/// A sender who expects a 100 sends nothing before it, and a server sends the 100 when its body
/// is polled for the first time.
pub(super) fn unasked<B>(head: &request::Parts, body: B) -> Option<B> {
    (!head.headers.contains_key(header::EXPECT)).then_some(body)
}

/// Reads the rest of a refused body and throws it away, while the answer is being sent.
///
/// A server that still gets a body which nobody reads closes the connection, and what the
/// sender, or the proxy between, then sees is often not the answer but a broken pipe: a failure
/// of the network, after which it tries again.
///
/// What has arrived is read here, and that is all of a usual request; only for a body that has
/// to be waited for is there a task. HTTP/2 can refuse one stream's body, so it needs neither.
pub(super) fn drain<B>(body: B, version: Version, cx: &mut Context<'_>)
where
    B: Body + Send + Unpin + 'static,
{
    if version >= Version::HTTP_2 || body.is_end_stream() {
        return;
    }
    let mut drain = Drain { body, left: MOST };
    if drain.poll(cx).is_pending() {
        // Without a runtime, nobody could wait.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async {
                let mut drain = drain;
                // Either way, the body is dropped.
                let _ = timeout(LONGEST, poll_fn(|cx| drain.poll(cx))).await;
            });
        }
    }
}

struct Drain<B> {
    body: B,
    left: usize,
}

impl<B: Body + Unpin> Drain<B> {
    /// Ready when there is no more to read, or no more to be read.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Within the task's budget, so that a body which is always there does not keep the
            // thread.
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = ready!(pin!(cooperative(frame)).poll(cx)) else {
                return Poll::Ready(());
            };
            let len = frame.data_ref().map_or(0, Buf::remaining).max(LEAST);
            match self.left.checked_sub(len) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
    }
}
