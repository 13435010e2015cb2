//! A body in frames.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    vec,
};

use axum_core::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame};

/// A body in frames, without a declared length.
pub(super) struct Frames {
    left: vec::IntoIter<Bytes>,
    breaks: bool,
    asked: Arc<AtomicBool>,
}

impl Frames {
    /// Sets `asked` when the body is read.
    pub(super) fn new(frames: Vec<Bytes>, asked: &Arc<AtomicBool>) -> Self {
        Self {
            left: frames.into_iter(),
            breaks: false,
            asked: asked.clone(),
        }
    }

    /// Ends the body with an error, as if the sender had hung up.
    pub(super) fn breaks(mut self) -> Self {
        self.breaks = true;
        self
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.asked.store(true, Ordering::Relaxed);
        let frame = self.left.next().map(|data| Ok(Frame::data(data)));
        Poll::Ready(frame.or_else(|| self.breaks.then(|| Err("connection reset".into()))))
    }
}
