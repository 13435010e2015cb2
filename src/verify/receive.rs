use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::BoxError;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::{
    task::coop::{cooperative, has_budget_remaining},
    time::{Instant, Sleep, sleep_until},
};

use super::{budget::Reservation, buffer::Buffer, layer::Limits};
use crate::{
    delivery::Delivery,
    rejection::{Rejection, RejectionKind},
    secret::{Secrets, Verifier},
    signature::Signature,
    telemetry::{self, Stopwatch},
};

/// How long a body for which there is no room may take to be complete. A server hands over a
/// body in pieces, between which it has to be waited for, though all of it was sent at once.
const ARRIVAL: Duration = Duration::from_millis(100);

pin_project! {
    /// Receives a body, hashing each frame as it comes: when the last byte is in, so is
    /// the verdict.
    pub(super) struct Receive<B> {
        #[pin]
        body: B,
        // Set when the body made us wait for the first time: a delivery that is there at
        // once needs no timer.
        #[pin]
        timer: Option<Sleep>,
        waiting_since: Option<Instant>,
        // Set while there is no room for it.
        crowded_since: Option<Instant>,
        verifier: Option<Verifier>,
        buffer: Buffer,
        reservation: Reservation,
        signature: Signature,
        known: bool,
        endpoint: Option<Arc<str>>,
        max_body_size: usize,
        body_timeout: Duration,
        stopwatch: Stopwatch,
    }
}

impl<B> Receive<B> {
    /// Without secrets, the verdict is that there is no such endpoint; but it comes after the
    /// body, like that of a wrong signature, lest anybody find out which endpoints there are.
    pub(super) fn new(
        body: B,
        signature: Signature,
        secrets: Option<&Secrets>,
        limits: &Limits,
    ) -> Self {
        static NOBODY: LazyLock<Secrets> = LazyLock::new(|| Secrets::new("nobody"));
        let known = secrets.is_some();
        let secrets = secrets.unwrap_or(&NOBODY);
        Self {
            body,
            timer: None,
            waiting_since: None,
            crowded_since: None,
            verifier: Some(secrets.verifier()),
            buffer: Buffer::default(),
            reservation: Reservation::nothing(&limits.budget),
            signature,
            known,
            endpoint: secrets.endpoint_name(),
            max_body_size: limits.max_body_size,
            body_timeout: limits.body_timeout,
            stopwatch: Stopwatch::start(),
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
                return self.poll_wait(cx).map(|kind| Err(Rejection::new(kind)));
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
                this.stopwatch.hashing(|| verifier.update(&data));
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
    fn poll_wait(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RejectionKind> {
        let mut this = self.project();
        let (now, held) = (Instant::now(), this.buffer.len());
        let since = *this.waiting_since.get_or_insert(now);
        let (mut end, mut kind) = (since + *this.body_timeout, RejectionKind::BodyTimeout);
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
        match this.timer.as_mut().as_pin_mut() {
            Some(timer) if timer.deadline() == end => {}
            Some(timer) => timer.reset(end),
            None => this.timer.set(Some(sleep_until(end))),
        }
        // A timer does not fire while the task's budget is spent, a clock does.
        if let (Some(timer), true) = (this.timer.as_pin_mut(), now < end) {
            ready!(timer.poll(cx));
        }
        Poll::Ready(kind)
    }

    fn finish(self: Pin<&mut Self>) -> Result<Delivery, Rejection> {
        let this = self.project();
        let signature = *this.signature;
        let verifier = this.verifier.take();
        let matched = this
            .stopwatch
            .hashing(|| verifier.and_then(|verifier| verifier.verify(&signature)));
        match matched {
            _ if !*this.known => Err(Rejection::new(RejectionKind::UnknownEndpoint)),
            None => Err(Rejection::new(RejectionKind::WrongSignature)),
            Some(matched) => {
                let body = mem::take(this.buffer).into_bytes();
                let endpoint = this.endpoint.take();
                let delivery = Delivery::new(body, signature, matched, endpoint);
                telemetry::verified(&delivery, this.stopwatch);
                Ok(delivery)
            }
        }
    }
}
