//! The reasons why the verification layer rejects a request.

use std::{error, fmt};

use axum_core::{BoxError, response::Response};
use http::{StatusCode, Version};

use crate::{
    refusal::{Kind, Reason, Refusal},
    telemetry::Severity,
};

/// The reason why [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) rejected a request.
///
/// The layer puts the rejection into the extensions of the *response*, where an outer layer can log
/// it or replace the response. The response itself depends only on the status, so that every 401 is
/// the same and the sender does not learn the reason.
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

/// The kinds of [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request does not have an `X-Webhook-Signature` header: 401.
    MissingSignature,
    /// The request has more than one `X-Webhook-Signature` header: 401.
    SeveralSignatures,
    /// The signature is not exactly 64 hexadecimal digits: 401.
    MalformedSignature,
    /// The signature does not match the body under any of the valid secrets: 401.
    WrongSignature,
    /// The signature does not match, and the request is not a POST or does not have a body: 401.
    ///
    /// SoundHash follows redirects, and a 301, 302 or 303 turns its POST into a GET without a body
    /// that keeps the signature. The event is lost unless the redirect is removed.
    Redirected,
    /// The [`SecretProvider`](crate::SecretProvider) does not know the endpoint: 401.
    UnknownEndpoint,
    /// The body, or its `Content-Length`, is over the limit: 413.
    BodyTooLarge,
    /// The body did not arrive in time: 408.
    BodyTimeout,
    /// The body ended early, with an error: 400.
    BodyBroken,
    /// The [`SecretProvider`](crate::SecretProvider) failed or took too long: 503.
    SecretsUnavailable,
    /// The memory for unfinished bodies is full, and this body made the least progress: 503.
    BufferFull,
}

impl RejectionKind {
    /// Returns the status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.reason().status
    }

    /// Returns the name for logs and metrics, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.reason().name
    }

    /// Returns the level at which this kind is logged.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::SecretsUnavailable => Severity::Failure,
            _ => Severity::Warning,
        }
    }

    pub(crate) const fn reason(self) -> &'static Reason {
        match self {
            Self::MissingSignature => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "missing_signature",
                message: "no signature header",
                advice: "SoundHash always sends X-Webhook-Signature, so check what else sends \
                         requests to this path, and whether a proxy removes the header",
            },
            Self::SeveralSignatures => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "several_signatures",
                message: "more than one signature header",
                advice: NOT_SOUNDHASH,
            },
            Self::MalformedSignature => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "malformed_signature",
                message: "signature is not 64 hexadecimal digits",
                advice: NOT_SOUNDHASH,
            },
            Self::WrongSignature => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "wrong_signature",
                message: "signature does not match the body",
                advice: "check that the secret is the one of this SoundHash endpoint, and that \
                         nothing in front of this server changes the body. To find the mistake, \
                         keep a body with `soundhash-webhook listen` or with the layer of an \
                         Inspector, which explain its signature, as `soundhash-webhook verify` does",
            },
            Self::Redirected => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "redirected",
                message: "signed request without a body, or not a POST",
                advice: "a redirect made SoundHash drop the body, and the event is lost: register \
                         the exact URL of this endpoint. Usual causes are http instead of https, a \
                         trailing slash, a missing www, and a login in front of the endpoint",
            },
            Self::UnknownEndpoint => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "unknown_endpoint",
                message: "no secret for this endpoint",
                advice: "check that the SecretProvider knows the endpoint that SoundHash sends to",
            },
            Self::BodyTooLarge => &Reason {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                name: "body_too_large",
                message: "body is over the limit",
                advice: "if SoundHash sent it, raise max_body_size, or the limit of an outer layer such \
                         as RequestBodyLimitLayer",
            },
            Self::BodyTimeout => &Reason {
                status: StatusCode::REQUEST_TIMEOUT,
                name: "body_timeout",
                message: "body did not arrive in time",
                advice: "check the connection to SoundHash, and raise body_timeout if it is slow",
            },
            Self::BodyBroken => &Reason {
                status: StatusCode::BAD_REQUEST,
                name: "body_broken",
                message: "body ended early",
                advice: "the sender or a proxy closed the connection early, and SoundHash sends \
                         the event again",
            },
            Self::SecretsUnavailable => &Reason {
                status: StatusCode::SERVICE_UNAVAILABLE,
                name: "secrets_unavailable",
                message: "lookup of the secrets failed",
                advice: "deliveries fail until the SecretProvider works again, and SoundHash drops \
                         an event after 7 minutes of retries",
            },
            Self::BufferFull => &Reason {
                status: StatusCode::SERVICE_UNAVAILABLE,
                name: "buffer_full",
                message: "memory for unfinished bodies is full",
                advice: "clients send many bodies slowly, or max_buffered is too small, so let a \
                         proxy buffer requests, or raise max_buffered",
            },
        }
    }
}

const NOT_SOUNDHASH: &str = "SoundHash does not send this, so check what else sends requests to \
                             this path, and whether a proxy changes the header";

impl Kind for RejectionKind {
    fn reason(self) -> &'static Reason {
        Self::reason(self)
    }
}

impl Rejection {
    pub(crate) const fn new(kind: RejectionKind) -> Self {
        Self(Refusal::new(kind))
    }

    pub(crate) fn with_source(kind: RejectionKind, source: impl Into<BoxError>) -> Self {
        Self(Refusal::with_source(kind, source.into()))
    }

    /// Returns the kind of rejection.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind().status()
    }

    /// Returns the response. `explain` adds the reason to its text.
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
