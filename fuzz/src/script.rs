//! A body that follows a script from the fuzzer, and may misreport its length or whether it has
//! ended.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The result of one poll of a body.
#[derive(Clone, Debug)]
pub enum Step {
    /// A frame.
    Data(Bytes),
    Trailers,
    /// Returns `Pending` once, after waking the task.
    Yield,
    /// The body fails.
    Error,
    /// Pending forever.
    Stall,
}

/// A body that performs the given steps in order, and ends after the last one.
#[derive(Debug)]
pub struct Script {
    steps: vec::IntoIter<Step>,
    stalled: bool,
    hints: (bool, u64),
    polls: Arc<AtomicUsize>,
}

impl Script {
    /// Creates a body. `hints` says whether the body claims to have ended, and what length it
    /// claims to have.
    #[must_use]
    pub fn new(steps: Vec<Step>, hints: (bool, u64)) -> Self {
        Self {
            steps: steps.into_iter(),
            stalled: false,
            hints,
            polls: Arc::default(),
        }
    }

    /// Returns the counter of polls, which can still be read after the body has been dropped.
    #[must_use]
    pub fn polls(&self) -> Arc<AtomicUsize> {
        self.polls.clone()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if self.stalled {
            return Poll::Pending;
        }
        match self.steps.next() {
            None => Poll::Ready(None),
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Error) => Poll::Ready(Some(Err("connection reset"))),
            Some(Step::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stall) => {
                self.stalled = true;
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.hints.0
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.hints.1);
        hint
    }
}
