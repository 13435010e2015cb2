use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep_until},
};

use super::{budget::Reservation, layer::Limits, receive::Received};
use crate::rejection::RejectionKind;

/// How long a body for which there is no room may take to be complete. A server hands over a
/// body in pieces, between which it has to be waited for, though all of it was sent at once.
const ARRIVAL: Duration = Duration::from_millis(100);

pin_project! {
    /// A body that has to be waited for: its time, its part of the [`Budget`], and what is
    /// there of it. Made only for those, since most bodies are there at once.
    ///
    /// [`Budget`]: super::budget::Budget
    pub(super) struct Wait {
        received: Option<Received>,
        #[pin]
        timer: Sleep,
        end: Instant,
        // Set while there is no room for it.
        crowded_since: Option<Instant>,
        reservation: Reservation,
    }
}

impl Wait {
    pub(super) fn new(limits: &Limits) -> Self {
        let end = Instant::now() + limits.body_timeout;
        Self {
            received: None,
            timer: sleep_until(end),
            end,
            crowded_since: None,
            reservation: Reservation::nothing(&limits.budget),
        }
    }

    /// What was received so far, to receive more.
    pub(super) fn resume(self: Pin<&mut Self>) -> Option<Received> {
        self.project().received.take()
    }

    /// Waits on with what was received: it counts against the budget from here, and its time
    /// runs; ready when either is spent.
    pub(super) fn poll_spent(
        self: Pin<&mut Self>,
        mut received: Received,
        cx: &mut Context<'_>,
    ) -> Poll<RejectionKind> {
        let mut this = self.project();
        received.buffer.let_go();
        let held = received.buffer.len();
        *this.received = Some(received);
        let now = Instant::now();
        let (mut end, mut kind) = (*this.end, RejectionKind::BodyTimeout);
        if !has_budget_remaining() {
            // It was the task that had to wait, not the body.
        } else if this.reservation.wait_with(held) {
            *this.crowded_since = None;
        } else if this.reservation.arrive_with(held) {
            let arrived_by = *this.crowded_since.get_or_insert(now) + ARRIVAL;
            if arrived_by < end {
                (end, kind) = (arrived_by, RejectionKind::BufferFull);
            }
        } else {
            return Poll::Ready(RejectionKind::BufferFull);
        }
        if this.timer.deadline() != end {
            this.timer.as_mut().reset(end);
        }
        // A timer does not fire while the task's budget is spent, a clock does.
        if now < end {
            ready!(this.timer.poll(cx));
        }
        Poll::Ready(kind)
    }
}
