//! The service that the layer creates, which first checks the head of a request.

use std::{
    fmt, mem,
    num::IntErrorKind,
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::{
    BoxError,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use tower_service::Service;

use super::{future::ResponseFuture, keys::Keys, limits::Limits, provider::SecretProvider};
use crate::{
    panics::panic_as_none,
    rejection::{Rejection, RejectionKind},
    secret::Secrets,
    signature::{SIGNATURE_HEADER, Signature},
};

/// The [`Service`] created by [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), which
/// verifies each request before it calls the inner service `S`.
///
/// The service accepts any request body whose data is [`Bytes`]. The inner service takes a
/// `Request<axum::body::Body>` and can return anything that implements [`IntoResponse`]. Only the
/// inner service can fail, and its errors are passed on.
///
/// The response to a rejected request has the [`Rejection`] in its extensions, for outer layers.
///
/// # Panics
///
/// Panics if the response future has to wait for a body or a lookup and is not running in a Tokio
/// runtime with an enabled timer.
pub struct SoundHashWebhook<S, P = Secrets> {
    inner: S,
    provider: Arc<P>,
    limits: Arc<Limits>,
}

impl<S, P> SoundHashWebhook<S, P> {
    pub(super) fn new(inner: S, provider: Arc<P>, limits: Arc<Limits>) -> Self {
        Self {
            inner,
            provider,
            limits,
        }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, B> Service<Request<B>> for SoundHashWebhook<S, P>
where
    S: Service<Request<Body>, Response: IntoResponse> + Clone,
    P: SecretProvider,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        // This does not box a body that is already an `axum::body::Body`.
        let body = Body::new(body);
        let Self {
            inner,
            provider,
            limits,
        } = self;
        let signature = match check_head(&head.headers, limits.max_body_size) {
            Ok(signature) => signature,
            Err(kind) => {
                return ResponseFuture::rejected(Rejection::new(kind), &head, body, limits);
            }
        };
        // The clone may not be ready, so `inner` handles the request and the clone takes its place.
        let clone = inner.clone();
        let inner = mem::replace(inner, clone);
        // After a panic, the lookup panics as well, or finds the secrets.
        let keys = match panic_as_none(|| provider.cached(&head)) {
            Some(secrets) => Keys::known(secrets, head),
            None => Keys::lookup(provider, head, limits.lookup_timeout),
        };
        ResponseFuture::verify(keys, body, signature, inner, limits)
    }
}

/// Checks the head of a request, without polling the body or the provider.
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

/// Returns the declared body length, or `u64::MAX` if it is larger than that.
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
            provider: self.provider.clone(),
            limits: self.limits.clone(),
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for SoundHashWebhook<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoundHashWebhook")
            .field("inner", &self.inner)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
