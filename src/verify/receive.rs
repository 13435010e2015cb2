use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use axum_core::BoxError;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::task::coop::cooperative;

use super::{buffer::Buffer, layer::Limits, wait::Wait};
use crate::{
    delivery::Delivery,
    event::{Envelope, EventKind},
    rejection::{Rejection, RejectionKind},
    secret::{Secrets, Verifier},
    signature::Signature,
    telemetry::{self, DeliveryFields, RejectionLog, Stopwatch},
};

/// Receives a body, hashing each frame as it comes: when the last byte is in, so is the
/// verdict.
pub(super) struct Receive<B> {
    /// Until it has ended.
    body: Option<B>,
    signature: Signature,
    secrets: Option<Secrets>,
    limits: Limits,
    stopwatch: Stopwatch,
    /// In a box, so that the usual future is small: it is moved several times.
    wait: Option<Pin<Box<Wait>>>,
}

/// What is there of a body.
pub(super) struct Received {
    pub(super) buffer: Buffer,
    verifier: Verifier,
}

impl<B> Receive<B> {
    /// Without secrets, the verdict is that there is no such endpoint; but it comes after the
    /// body, like that of a wrong signature, lest anybody find out which endpoints there are.
    pub(super) fn new(
        body: B,
        signature: Signature,
        secrets: Option<Secrets>,
        limits: &Limits,
    ) -> Self {
        Self {
            body: Some(body),
            signature,
            secrets,
            limits: limits.clone(),
            stopwatch: Stopwatch::start(),
            wait: None,
        }
    }
}

impl<B> Receive<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Rejection>> {
        let resumed = self.wait.as_mut().and_then(|wait| wait.as_mut().resume());
        let mut received = match resumed {
            Some(received) => received,
            None => Received::nothing(self.secrets.as_ref()),
        };
        while let Some(body) = &mut self.body {
            let Poll::Ready(frame) = poll_frame(body, cx) else {
                let wait = || Box::pin(Wait::new(&self.limits));
                let wait = self.wait.get_or_insert_with(wait).as_mut();
                let spent = wait.poll_spent(received, cx);
                return spent.map(|kind| Err(Rejection::new(kind)));
            };
            let data = match frame {
                // `None` is the end. `is_end_stream` and `size_hint` are hints, and a body
                // that never gives the hint must not be waited for.
                None => {
                    self.body = None;
                    continue;
                }
                Some(Err(error)) => {
                    self.body = None;
                    let rejection = Rejection::with_source(RejectionKind::BodyBroken, error);
                    return Poll::Ready(Err(rejection));
                }
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers are no part of what was signed.
            let Ok(mut data) = data else { continue };
            let len = data.remaining();
            if len > self.limits.max_body_size - received.buffer.len() {
                return Poll::Ready(Err(Rejection::new(RejectionKind::BodyTooLarge)));
            }
            // No copy where the frame is `Bytes` already.
            let data: Bytes = data.copy_to_bytes(len);
            self.stopwatch.hashing(|| received.verifier.update(&data));
            received.buffer.push(data);
        }
        Poll::Ready(self.finish(received))
    }

    fn finish(&mut self, received: Received) -> Result<Delivery, Rejection> {
        let Received { buffer, verifier } = received;
        let signature = self.signature;
        let matched = self.stopwatch.hashing(|| verifier.verify(&signature));
        match (&self.secrets, matched) {
            (None, _) => Err(Rejection::new(RejectionKind::UnknownEndpoint)),
            (Some(_), None) => Err(Rejection::new(RejectionKind::WrongSignature)),
            (Some(secrets), Some(matched)) => {
                let endpoint = secrets.endpoint_name();
                let delivery = Delivery::new(buffer.into_bytes(), signature, matched, endpoint);
                if telemetry::records_verified() {
                    let (bytes, stopwatch) = (delivery.body().len(), &self.stopwatch);
                    telemetry::verified(log_fields(&delivery), bytes, matched, stopwatch);
                }
                self.limits.rejections.log_summaries();
                Ok(delivery)
            }
        }
    }

    /// The endpoint that the secrets belong to, if they name it.
    pub(super) fn endpoint(&self) -> Option<Arc<str>> {
        self.secrets.as_ref()?.endpoint_name()
    }

    /// The log of the layer's rejections.
    pub(super) fn rejections(&self) -> &RejectionLog {
        &self.limits.rejections
    }

    /// What of a refused body may still come.
    pub(super) fn rest(&mut self) -> Option<B> {
        self.body.take()
    }
}

/// How the log and the metrics identify a delivery. Parses the envelope, which the
/// [`Event`](crate::Event) extractor then need not parse again.
pub(super) fn log_fields(delivery: &Delivery) -> DeliveryFields<'_> {
    let envelope = delivery.envelope().as_ref().ok();
    let event_type = envelope.map(Envelope::event_type);
    let kind = event_type.and_then(|it| it.parse().ok());
    DeliveryFields {
        id: envelope.and_then(|it| it.id.as_ref()).map(|id| id as _),
        event_type,
        known_type: kind.map(EventKind::as_str),
        endpoint: delivery.endpoint(),
    }
}

type FrameResult<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// The next frame, within the task's budget: a body that always has another empty frame
/// would otherwise keep the thread, and the deadline from being looked at, for ever.
fn poll_frame<B: Body + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Poll<Option<FrameResult<B>>> {
    let mut body = Pin::new(body);
    pin!(cooperative(poll_fn(|cx| body.as_mut().poll_frame(cx)))).poll(cx)
}

impl Received {
    #[inline]
    fn nothing(secrets: Option<&Secrets>) -> Self {
        static NOBODY: LazyLock<Secrets> = LazyLock::new(|| Secrets::new("nobody"));
        Self {
            buffer: Buffer::default(),
            verifier: secrets.unwrap_or_else(|| &NOBODY).verifier(),
        }
    }
}
