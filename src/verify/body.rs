//! Receives the body of a request, within the limits of the layer.

use std::{
    error::Error,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum_core::body::Body;
use bytes::Bytes;
use http::request;
use http_body::Body as _;
use http_body_util::LengthLimitError;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    budget::{BufferFull, Reservation, ServerMemory},
    limits::Limits,
};
use crate::rejection::{Rejection, RejectionKind};

/// The number of frames to read before the task yields. This limit is needed because a body can
/// have any number of empty frames.
pub(super) const FRAMES_PER_POLL: usize = 128;

/// Receives a body and passes each frame to the hash as it arrives.
pub(super) struct BodyReader {
    /// `None` once the body has ended.
    body: Option<Body>,
    limits: Arc<Limits>,
    server: ServerMemory,
    len: usize,
    /// The frames that have arrived since the last wait.
    partial: PartialBody,
    /// Boxed to keep the future small, because most bodies arrive without a wait and do not need
    /// this.
    stalled: Option<Box<StalledBody>>,
}

impl BodyReader {
    #[inline]
    pub(super) fn new(head: &request::Parts, body: Body, limits: Arc<Limits>) -> Self {
        Self {
            server: ServerMemory::new(head),
            body: Some(body),
            limits,
            len: 0,
            partial: PartialBody::default(),
            stalled: None,
        }
    }

    /// Resolves when the whole body has been received and passed to `hash`.
    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut hash: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Rejection>> {
        for _ in 0..FRAMES_PER_POLL {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(()));
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                return self.poll_expired(cx);
            };
            let frame = match frame {
                // Only `None` reliably marks the end of the body, because `is_end_stream` and
                // `size_hint` are optional hints.
                None => {
                    self.body = None;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => {
                    self.body = None;
                    let kind = match is_length_limit(&error) {
                        true => RejectionKind::BodyTooLarge,
                        false => RejectionKind::BodyBroken,
                    };
                    return Poll::Ready(Err(Rejection::with_source(kind, error)));
                }
                Some(Ok(frame)) => frame,
            };
            // Trailers are not signed, so they are ignored.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > self.limits.max_body_size - self.len {
                return Poll::Ready(Err(Rejection::new(RejectionKind::BodyTooLarge)));
            }
            self.len += data.len();
            hash(&data);
            self.partial.push(data);
        }
        cx.waker().wake_by_ref();
        self.poll_expired(cx)
    }

    /// Waits for more of the body. Resolves to an error if the time is up or the body has been
    /// evicted.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        ready!(self.reserve(cx)?.poll_expired(cx));
        Poll::Ready(Err(Rejection::new(RejectionKind::BodyTimeout)))
    }

    /// Counts the body against the budget while it waits, and wakes the task if the body is
    /// evicted.
    pub(super) fn reserve(&mut self, cx: &mut Context<'_>) -> Result<&mut StalledBody, BufferFull> {
        let mut stalled = match self.stalled.take() {
            Some(stalled) => stalled,
            None => Box::new(self.stall()),
        };
        if self.body.is_none() {
            stalled.reservation.set_complete();
        }
        mem::take(&mut self.partial).move_to(&mut stalled.reservation)?;
        stalled.reservation.wait(cx.waker())?;
        Ok(self.stalled.insert(stalled))
    }

    fn stall(&self) -> StalledBody {
        let limit = self.limits.max_body_size;
        let left = match &self.body {
            Some(body) => body.size_hint().exact(),
            None => Some(0),
        };
        let left = left.and_then(|left| usize::try_from(left).ok());
        let max_len = left.map_or(limit, |left| self.len.saturating_add(left).min(limit));
        let end = Instant::now() + self.limits.body_timeout;
        StalledBody {
            reservation: Reservation::new(&self.limits.shared.budget, self.server, max_len),
            end,
            timer: Box::pin(sleep_until(end)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the whole body. This must be called after [`poll`](Self::poll) has resolved.
    pub(super) fn take(&mut self) -> Result<Bytes, BufferFull> {
        let partial = mem::take(&mut self.partial);
        match &mut self.stalled {
            Some(stalled) if !stalled.reservation.is_empty() => {
                partial.move_to(&mut stalled.reservation)?;
                stalled.reservation.take()
            }
            // Nothing was copied, so all frames arrived in the same poll.
            _ => Ok(partial.into_bytes(self.len)),
        }
    }

    pub(super) fn remainder(&mut self) -> Option<Body> {
        self.body.take()
    }
}

/// Returns whether the error comes from an outer layer that limits the body, such as
/// `RequestBodyLimitLayer`.
fn is_length_limit(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    // The loop is bounded, because error sources may form a cycle.
    for _ in 0..8 {
        let Some(error) = source else { break };
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Frames of a body that arrived together, without a wait between them.
///
/// A single frame is passed on without being copied. Several frames are copied into one buffer.
#[derive(Debug, Default)]
struct PartialBody {
    /// Separate from `rest`, so that a single-frame body does not allocate a list.
    first: Bytes,
    rest: Vec<Bytes>,
}

impl PartialBody {
    #[inline]
    fn push(&mut self, frame: Bytes) {
        if self.first.is_empty() {
            self.first = frame;
        } else if !frame.is_empty() {
            self.rest.push(frame);
        }
    }

    /// Copies the frames into `reservation`. Keeping them would leave memory usage unbounded,
    /// because a frame is a slice of the server's read buffer, and even a small slice keeps the
    /// whole buffer alive.
    fn move_to(self, reservation: &mut Reservation) -> Result<(), BufferFull> {
        reservation.append(&self.first)?;
        self.rest
            .iter()
            .try_for_each(|frame| reservation.append(frame))
    }

    #[inline]
    fn into_bytes(self, len: usize) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(&self.first);
        for frame in self.rest {
            whole.extend_from_slice(&frame);
        }
        whole.into()
    }
}

/// The memory and deadline of a body that did not arrive all at once.
pub(super) struct StalledBody {
    reservation: Reservation,
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl StalledBody {
    /// Resolves when the time is up.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The clock is read as well, because a Tokio timer does not fire once the task has used up
        // its cooperative budget, and the server may use it up on every poll.
        if Instant::now() >= self.end {
            return Poll::Ready(());
        }
        self.timer.as_mut().poll(cx)
    }
}
