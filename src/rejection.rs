//! The reasons why the verification layer rejects a request.

use std::{error, fmt};

use axum_core::{BoxError, response::Response};
use http::{StatusCode, Version};

use crate::{
    refusal::{Kind, Refusal, kinds},
    telemetry::Severity,
};

/// The reason why [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) rejected a request.
///
/// The layer adds the rejection to the *response* extensions, so that an outer layer can log it or
/// replace the response. The response itself depends only on the status. All 401 responses are
/// therefore identical, and the sender does not learn the reason.
///
/// ```
/// use axum::{Router, http::StatusCode, middleware, response::Response, routing::post};
/// use soundhash_webhook::{Rejection, RejectionKind, SoundHashWebhookLayer};
///
/// async fn audit(response: Response) -> Response {
///     if let Some(rejection) = response.extensions().get::<Rejection>() {
///         eprintln!("{}: {rejection}", rejection.status());
///     }
///     response
/// }
///
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(|| async { StatusCode::OK }))
///     .layer(SoundHashWebhookLayer::new("whsec_test"))
///     .layer(middleware::map_response(audit));
/// ```
#[derive(Clone, Debug)]
pub struct Rejection(Refusal<RejectionKind>);

const NOT_SOUNDHASH: &str = "SoundHash does not send this, so check what else sends requests to \
                             this path, and whether a proxy changes the header";

kinds! {
    /// The kinds of [`Rejection`].
    RejectionKind {
        /// The request has no `X-Webhook-Signature` header: 401.
        MissingSignature: UNAUTHORIZED, Warning, "missing_signature", "no signature header",
            "SoundHash always sends X-Webhook-Signature, so check what else sends requests to \
             this path, and whether a proxy removes the header";
        /// The request has more than one `X-Webhook-Signature` header: 401.
        SeveralSignatures: UNAUTHORIZED, Warning, "several_signatures", "more than one signature header",
            NOT_SOUNDHASH;
        /// The signature is not exactly 64 hexadecimal digits: 401.
        MalformedSignature: UNAUTHORIZED, Warning, "malformed_signature", "signature is not 64 hexadecimal digits",
            NOT_SOUNDHASH;
        /// The signature does not match the body under any of the valid secrets: 401.
        WrongSignature: UNAUTHORIZED, Warning, "wrong_signature", "signature does not match the body",
            "check that the secret is the one of this SoundHash endpoint, and that nothing in \
             front of this layer reads or changes the body. To find the cause, record a delivery with \
             `soundhash-webhook listen` or the inspector, and run `soundhash-webhook verify` on it";
        /// The signature does not match, and the request is not a POST: 401.
        ///
        /// SoundHash follows redirects, and a 301, 302 or 303 turns its POST into a GET that has
        /// the signature but no body. The event is lost unless the redirect is removed. A forged
        /// request can look the same.
        Redirected: UNAUTHORIZED, Warning, "redirected",
            "signature does not match, and the request is not a POST",
            "if SoundHash sent it, a redirect dropped the body and lost the event, so register the \
             exact URL of this endpoint. Usual causes are http instead of https, a trailing slash, \
             a missing www, and a login in front of the endpoint";
        /// The [`SecretProvider`](crate::SecretProvider) does not know the endpoint: 401.
        UnknownEndpoint: UNAUTHORIZED, Warning, "unknown_endpoint", "no secret for this endpoint",
            "check that the SecretProvider knows the endpoint that SoundHash sends to";
        /// The body or its declared length is over the limit: 413.
        BodyTooLarge: PAYLOAD_TOO_LARGE, Warning, "body_too_large", "body is over the limit",
            "if SoundHash sent it, raise max_body_size, or the limit of an outer layer such as \
             RequestBodyLimitLayer";
        /// The body did not arrive in time: 408.
        BodyTimeout: REQUEST_TIMEOUT, Warning, "body_timeout", "body did not arrive in time",
            "check the connection to SoundHash, and raise body_timeout if it is slow";
        /// The body ended early with an error: 400.
        BodyBroken: BAD_REQUEST, Warning, "body_broken", "body ended early",
            "the sender or a proxy closed the connection early, and SoundHash sends the event \
             again";
        /// The [`SecretProvider`](crate::SecretProvider) failed or took too long: 503.
        SecretsUnavailable: SERVICE_UNAVAILABLE, Failure, "secrets_unavailable", "lookup of the secrets failed",
            "deliveries fail until the SecretProvider works again, and SoundHash drops an event \
             after 7 minutes of retries";
        /// Too many lookups wait, so the [`SecretProvider`](crate::SecretProvider) gave this one up:
        /// 503.
        TooManyLookups: SERVICE_UNAVAILABLE, Warning, "too_many_lookups", "too many lookups of secrets wait",
            "clients invent names of endpoints, or lookups are too slow, so speed them up, and \
             insert all endpoints into CachedSecrets at the start";
        /// 64 copies of the delivery are already being handled: 503.
        TooManyCopies: SERVICE_UNAVAILABLE, Warning, "too_many_copies", "too many copies of the delivery are being handled",
            "a client repeats a recorded delivery, and SoundHash sends its own one again";
        /// The memory for unfinished bodies is full, and this body made the least progress: 503.
        BufferFull: SERVICE_UNAVAILABLE, Warning, "buffer_full", "memory for unfinished bodies is full",
            "clients send many bodies slowly, or max_buffered is too small, so let a proxy \
             buffer requests, or raise max_buffered";
    }
}

impl Rejection {
    pub(crate) const fn new(kind: RejectionKind) -> Self {
        Self(Refusal::new(kind))
    }

    pub(crate) fn with_source(kind: RejectionKind, source: impl Into<BoxError>) -> Self {
        Self(Refusal::with_source(kind, source.into()))
    }

    /// Returns the kind of the rejection.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind().status()
    }

    /// Returns the response. Its text contains the reason if `explain` is `true`.
    pub(crate) fn into_response(
        self,
        version: Version,
        keep_alive: bool,
        explain: bool,
    ) -> Response {
        let mut response = self.0.response(version, keep_alive, explain);
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for Rejection {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}
