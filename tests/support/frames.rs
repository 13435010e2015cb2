//! Splits bodies into frames, as a server does.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;

/// Returns a body in frames of this length, all of which have already arrived.
pub fn frames(bytes: &Bytes, length: usize) -> Body {
    let starts = (0..bytes.len()).step_by(length);
    let frames = starts.map(|start| bytes.slice(start..bytes.len().min(start + length)));
    Body::new(Frames(frames.collect()))
}

struct Frames(VecDeque<Bytes>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|frame| Ok(Frame::data(frame))))
    }
}
