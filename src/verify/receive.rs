use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::BoxError;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::{
    task::coop::{cooperative, has_budget_remaining},
    time::{Instant, Sleep, sleep},
};

use super::{budget::Reservation, buffer::Buffer, layer::Limits};
use crate::{
    delivery::Delivery,
    rejection::{Rejection, RejectionKind},
    secret::{Secrets, Verifier},
    signature::Signature,
};

pin_project! {
    /// Receives a body, hashing each frame as it comes: when the last byte is in, so is
    /// the verdict.
    pub(super) struct Receive<B> {
        #[pin]
        body: B,
        // Set when the body made us wait for the first time: a delivery that is there at
        // once needs no timer.
        #[pin]
        deadline: Option<Sleep>,
        verifier: Option<Verifier>,
        buffer: Buffer,
        reservation: Reservation,
        signature: Signature,
        endpoint: Option<Arc<str>>,
        max_body_size: usize,
        body_timeout: Duration,
    }
}

impl<B> Receive<B> {
    pub(super) fn new(body: B, signature: Signature, secrets: &Secrets, limits: &Limits) -> Self {
        Self {
            body,
            deadline: None,
            verifier: Some(secrets.verifier()),
            buffer: Buffer::default(),
            reservation: limits.budget.reserve_nothing(),
            signature,
            endpoint: secrets.endpoint_name(),
            max_body_size: limits.max_body_size,
            body_timeout: limits.body_timeout,
        }
    }
}

impl<B> Future for Receive<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Delivery, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let Poll::Ready(frame) = self.as_mut().poll_frame(cx) else {
                return self.poll_wait(cx).map(Err);
            };
            let this = self.as_mut().project();
            let data = match frame {
                // `None` is the end. `is_end_stream` and `size_hint` are hints, and a body
                // that never gives the hint must not be waited for.
                None => return Poll::Ready(self.finish()),
                Some(Err(error)) => {
                    let rejection = Rejection::with_source(RejectionKind::BodyBroken, error);
                    return Poll::Ready(Err(rejection));
                }
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers are no part of what was signed.
            let Ok(mut data) = data else { continue };
            let len = data.remaining();
            if len > *this.max_body_size - this.buffer.len() {
                return Poll::Ready(Err(Rejection::new(RejectionKind::BodyTooLarge)));
            }
            // No copy where the frame is `Bytes` already.
            let data: Bytes = data.copy_to_bytes(len);
            if let Some(verifier) = this.verifier {
                verifier.update(&data);
            }
            this.buffer.push(data);
        }
    }
}

type FrameResult<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl<B> Receive<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The next frame, within the task's budget: a body that always has another empty frame
    /// would otherwise keep the thread, and the deadline from being looked at, for ever.
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult<B>>> {
        let mut body = self.project().body;
        pin!(cooperative(poll_fn(|cx| body.as_mut().poll_frame(cx)))).poll(cx)
    }

    /// The body is not there yet. What it holds counts against the budget from here, and
    /// its time runs; ready when either is spent.
    fn poll_wait(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        // Without a budget left it was the task that had to wait, not the body.
        if has_budget_remaining() && !this.reservation.grow_to(this.buffer.len()) {
            return Poll::Ready(Rejection::new(RejectionKind::BufferFull));
        }
        if this.deadline.is_none() {
            this.deadline.set(Some(sleep(*this.body_timeout)));
        }
        if let Some(deadline) = this.deadline.as_pin_mut() {
            // A timer does not fire while the task's budget is spent, a clock does.
            if Instant::now() < deadline.deadline() {
                ready!(deadline.poll(cx));
            }
        }
        Poll::Ready(Rejection::new(RejectionKind::BodyTimeout))
    }

    fn finish(self: Pin<&mut Self>) -> Result<Delivery, Rejection> {
        let this = self.project();
        let signature = *this.signature;
        this.verifier
            .take()
            .and_then(|verifier| verifier.verify(&signature))
            .map(|matched| {
                let body = std::mem::take(this.buffer).into_bytes();
                Delivery::new(body, signature, matched, this.endpoint.take())
            })
            .ok_or_else(|| Rejection::new(RejectionKind::WrongSignature))
    }
}
