//! Why the layer refused a request, and what it answers.

use std::{error, fmt, sync::Arc};

use axum_core::BoxError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version, header};

/// Seconds after which a refused sender may come back. SoundHash retries after 60 s
/// whatever it is told; this is for everybody else.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// RFC 9110 §15.5.2: a 401 names the scheme that would have been accepted.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"HMAC-SHA256 realm="SoundHash webhook""#);

/// Why [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) refused a request.
///
/// The layer puts it into the *response's* extensions, where an outer layer finds it to
/// log it or to answer in its own words. The peer never learns more than the status:
/// every reason for a 401 has the same answer.
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
pub struct Rejection {
    kind: RejectionKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

/// The kinds of [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No `X-Webhook-Signature` header: 401.
    MissingSignature,
    /// More than one `X-Webhook-Signature` header: 401.
    SeveralSignatures,
    /// A signature that is not exactly 64 hexadecimal digits: 401.
    MalformedSignature,
    /// A signature that no valid secret made of this body: 401.
    WrongSignature,
    /// The [`SecretProvider`](crate::SecretProvider) knows no such endpoint: 401.
    UnknownEndpoint,
    /// A body over the limit, or declared to be: 413.
    BodyTooLarge,
    /// A body that did not arrive in time: 408.
    BodyTimeout,
    /// A body that broke off with an error: 400.
    BodyBroken,
    /// The [`SecretProvider`](crate::SecretProvider) failed: 503.
    SecretsUnavailable,
    /// Unfinished bodies already fill the buffer that all requests share: 503.
    BufferFull,
}

impl RejectionKind {
    /// The status that the request was answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MissingSignature
            | Self::SeveralSignatures
            | Self::MalformedSignature
            | Self::WrongSignature
            | Self::UnknownEndpoint => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::SecretsUnavailable | Self::BufferFull => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A name for logs and metrics, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingSignature => "missing_signature",
            Self::SeveralSignatures => "several_signatures",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongSignature => "wrong_signature",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyBroken => "body_broken",
            Self::SecretsUnavailable => "secrets_unavailable",
            Self::BufferFull => "buffer_full",
        }
    }

    /// What the operator should do, for the log.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::MissingSignature => {
                "SoundHash always sends X-Webhook-Signature, so check what else sends requests \
                 to this path, and whether a proxy removes the header"
            }
            Self::SeveralSignatures | Self::MalformedSignature => {
                "SoundHash does not send this, so check what else sends requests to this path, \
                 and whether a proxy changes the header"
            }
            Self::WrongSignature => {
                "check that the secret is the one of this SoundHash endpoint, and that nothing \
                 in front of this server changes the body; \
                 soundhash_webhook::testing::diagnose and the command `soundhash-webhook verify` \
                 name the mistake"
            }
            Self::UnknownEndpoint => {
                "check that the SecretProvider knows the endpoint that SoundHash sends to"
            }
            Self::BodyTooLarge => "raise max_body_size if SoundHash sent it",
            Self::BodyTimeout => {
                "check the connection to SoundHash, and raise body_timeout if it is slow"
            }
            Self::BodyBroken => "the sender or a proxy closed the connection early",
            Self::SecretsUnavailable => {
                "deliveries fail until the SecretProvider works again, and SoundHash stops \
                 retrying after some minutes"
            }
            Self::BufferFull => "clients send many bodies slowly, or max_buffered is too small",
        }
    }
}

impl Rejection {
    pub(crate) const fn new(kind: RejectionKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: RejectionKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: Some(Arc::from(source.into())),
        }
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The status that the request was answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(crate) fn into_response<B: From<Bytes>>(self, version: Version) -> Response<B> {
        let mut response = respond(self.status(), version);
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer to a request that is not served: a text that is the same for every reason of
/// that status.
pub(crate) fn respond<B: From<Bytes>>(status: StatusCode, version: Version) -> Response<B> {
    let text = match status {
        // What SoundHash's own receivers answer.
        StatusCode::UNAUTHORIZED => "Invalid signature",
        StatusCode::PAYLOAD_TOO_LARGE => "Body too large",
        StatusCode::REQUEST_TIMEOUT => "Body not received in time",
        StatusCode::BAD_REQUEST => "Body not received",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::INTERNAL_SERVER_ERROR => "Internal server error",
        _ => "Service unavailable",
    };
    let mut response = Response::new(B::from(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        // RFC 9110 §15.5.9 asks for it; HTTP/2 has no such header.
        StatusCode::REQUEST_TIMEOUT if version < Version::HTTP_2 => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RejectionKind::MissingSignature => "no signature header",
            RejectionKind::SeveralSignatures => "more than one signature header",
            RejectionKind::MalformedSignature => "signature is not 64 hexadecimal digits",
            RejectionKind::WrongSignature => "signature does not match the body",
            RejectionKind::UnknownEndpoint => "no secret for this endpoint",
            RejectionKind::BodyTooLarge => "body is over the limit",
            RejectionKind::BodyTimeout => "body did not arrive in time",
            RejectionKind::BodyBroken => "body broke off",
            RejectionKind::SecretsUnavailable => "secret look-up failed",
            RejectionKind::BufferFull => "buffer for unfinished bodies is full",
        })
    }
}

impl error::Error for Rejection {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
