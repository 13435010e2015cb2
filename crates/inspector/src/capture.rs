//! Copies of bodies, made frame by frame while somebody else reads them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What was kept of a body.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Box<[u8]>,
    /// The number of bytes that were read.
    pub(crate) total: u64,
    /// Whether the end of the body was seen.
    pub(crate) ended: bool,
}

impl Kept {
    pub(crate) fn is_whole(&self) -> bool {
        self.ended && self.bytes.len() as u64 == self.total
    }
}

/// The memory for requests that are not answered yet. Nobody knows yet who sent them, so a
/// sender that opens many gets them recorded in part, and displaces nothing.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    pub(crate) const MAX: usize = 6 * 1024 * 1024;
}

/// A part of [`InFlight`].
pub(crate) struct Reservation {
    all: Arc<InFlight>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn new(all: Arc<InFlight>) -> Self {
        Self { all, bytes: 0 }
    }

    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let used = self.all.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = used.saturating_add(bytes) <= InFlight::MAX;
        if fits {
            self.bytes += bytes;
        } else {
            self.all.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that is being copied.
pub(crate) struct Recording {
    bytes: Vec<u8>,
    total: u64,
    ended: bool,
    max: usize,
    reservation: Reservation,
}

impl Recording {
    pub(crate) fn new(max: usize, reservation: Reservation) -> Self {
        Self {
            bytes: Vec::new(),
            total: 0,
            ended: false,
            max,
            reservation,
        }
    }

    fn data(&mut self, data: &[u8]) {
        let so_far = self.total;
        self.total += data.len() as u64;
        // What follows a gap is not kept, so that the bytes are always the body's first ones.
        if so_far != self.bytes.len() as u64 {
            return;
        }
        let data = &data[..data.len().min(self.max - self.bytes.len())];
        let needed = self.bytes.len() + data.len();
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let more = needed.max(2 * capacity).min(self.max) - self.bytes.len();
            if !self.reservation.grow(self.bytes.len() + more - capacity) {
                return;
            }
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(data);
    }

    fn end(&mut self) {
        self.ended = true;
    }

    /// Looks at what a reader of the body got.
    pub(crate) fn observe<E>(
        &mut self,
        polled: &Poll<Option<Result<Frame<Bytes>, E>>>,
        is_end_stream: bool,
    ) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.data(data);
                }
                if is_end_stream {
                    self.end();
                }
            }
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
    }

    /// Takes what was kept. Bytes that are read later are counted only.
    pub(crate) fn finish(&mut self) -> Kept {
        self.max = 0;
        Kept {
            bytes: std::mem::take(&mut self.bytes).into_boxed_slice(),
            total: self.total,
            ended: self.ended,
        }
    }

    /// Returns the body if all of it was seen and kept.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.ended && self.bytes.len() as u64 == self.total).then_some(&self.bytes)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

/// Who is shown the frames of a body.
pub(crate) trait Observer: Send + Unpin + 'static {
    fn observe(
        &mut self,
        polled: &Poll<Option<Result<Frame<Bytes>, axum::Error>>>,
        is_end_stream: bool,
    );
}

/// A body that shows its frames to an observer, and is otherwise the same.
pub(crate) struct Observed<O> {
    pub(crate) body: Body,
    pub(crate) observer: O,
}

impl<O: Observer> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.observer.observe(&polled, this.body.is_end_stream());
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
