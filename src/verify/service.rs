use std::{
    fmt, mem,
    num::IntErrorKind,
    task::{Context, Poll},
};

use axum_core::{BoxError, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use tower_service::Service;

use super::{future::ResponseFuture, layer::SoundHashWebhookLayer, provider::SecretProvider};
use crate::{
    rejection::{Rejection, RejectionKind},
    secret::Secrets,
    signature::{SIGNATURE_HEADER, Signature},
};

/// The [`Service`] that [`SoundHashWebhookLayer`] makes: verifies, then calls `S`.
///
/// The inner service takes a `Request<axum::body::Body>` and may answer with any body that
/// can be made of [`Bytes`]. Its errors are passed on; the layer adds none of its own. The body
/// that comes in is any that can be handed to another task, which reads what is left of it after
/// a refusal: that of axum, or hyper's. Of one that is not [`Unpin`], axum's `Body::new` makes one
/// that is.
///
/// # Panics
///
/// Its future, when it has to wait for a body outside of a Tokio runtime with its timer
/// enabled, and that other task in a runtime without the timer.
pub struct SoundHashWebhook<S, P = Secrets> {
    pub(super) inner: S,
    pub(super) layer: SoundHashWebhookLayer<P>,
}

impl<S, P, B, ResBody> Service<Request<B>> for SoundHashWebhook<S, P>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone,
    P: SecretProvider,
    B: http_body::Body + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    ResBody: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let signature = match check_head(&head.headers, self.layer.limits.max_body_size) {
            Ok(signature) => signature,
            Err(kind) => {
                let limits = &self.layer.limits;
                return ResponseFuture::refused(Rejection::new(kind), &head, body, limits);
            }
        };
        // The clone has not been polled ready, so it is the one that stays behind.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let SoundHashWebhookLayer { provider, limits } = &self.layer;
        match provider.cached(&head) {
            None => ResponseFuture::look_up(inner, head, body, signature, provider, limits),
            secrets => ResponseFuture::receive(inner, head, body, signature, secrets, limits),
        }
    }
}

/// The checks that cost nothing: no byte of the body is waited for, nobody is asked.
fn check_head(headers: &HeaderMap, max_body_size: usize) -> Result<Signature, RejectionKind> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let signature = values.next().ok_or(RejectionKind::MissingSignature)?;
    if values.next().is_some() {
        return Err(RejectionKind::SeveralSignatures);
    }
    let signature =
        Signature::try_from(signature).map_err(|_| RejectionKind::MalformedSignature)?;
    match declared_len(headers) {
        Some(len) if len > max_body_size as u64 => Err(RejectionKind::BodyTooLarge),
        _ => Ok(signature),
    }
}

/// One that no `u64` holds is over every limit, too.
fn declared_len(headers: &HeaderMap) -> Option<u64> {
    let digits = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    match digits.parse() {
        Ok(len) => Some(len),
        Err(error) => (*error.kind() == IntErrorKind::PosOverflow).then_some(u64::MAX),
    }
}

impl<S: Clone, P> Clone for SoundHashWebhook<S, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for SoundHashWebhook<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoundHashWebhook")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
