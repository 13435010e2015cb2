//! The reason why the layer rejected a request, and the response to it.

use std::{error, fmt, sync::Arc};

use axum_core::{BoxError, body::Body};
use http::{HeaderValue, Response, StatusCode, Version, header};

/// The seconds after which a sender may retry. SoundHash ignores this and retries after 60 s.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The authentication scheme, which RFC 9110 §15.5.2 requires every 401 to name.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"HMAC-SHA256 realm="SoundHash webhook""#);

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
pub struct Rejection {
    kind: RejectionKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

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

    /// Returns the name for logs and metrics, in snake case.
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

    /// Returns what the operator should do, for the log.
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
            Self::BodyBroken => {
                "the sender or a proxy closed the connection early, and SoundHash sends the \
                 event again"
            }
            Self::SecretsUnavailable => {
                "deliveries fail until the SecretProvider works again, and SoundHash drops an \
                 event after 7 minutes of retries"
            }
            Self::BufferFull => {
                "clients send many bodies slowly, or max_buffered is too small, so let a proxy \
                 buffer requests, or raise max_buffered"
            }
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

    /// Returns the kind of rejection.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Returns the response. `explain` adds the reason to its text.
    pub(crate) fn into_response(
        self,
        version: Version,
        keep_alive: bool,
        explain: bool,
    ) -> Response<Body> {
        let mut response = respond(self.status(), version);
        if explain {
            let text = text(self.status());
            *response.body_mut() = Body::from(format!("{text}: {self}"));
        }
        if !keep_alive && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Returns the text of a response, which depends only on the status.
const fn text(status: StatusCode) -> &'static str {
    match status {
        // The receivers in SoundHash's documentation answer with this text.
        StatusCode::UNAUTHORIZED => "Invalid signature",
        StatusCode::PAYLOAD_TOO_LARGE => "Body too large",
        StatusCode::REQUEST_TIMEOUT => "Body not received in time",
        StatusCode::BAD_REQUEST => "Body not received",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::INTERNAL_SERVER_ERROR => "Internal server error",
        _ => "Service unavailable",
    }
}

/// Returns a layer's response to a request that does not reach the handler.
pub(crate) fn respond(status: StatusCode, version: Version) -> Response<Body> {
    let text = text(status);
    let mut response = Response::new(Body::from(text));
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
        // RFC 9110 §15.5.9 recommends to close the connection. HTTP/2 does not have this header.
        StatusCode::REQUEST_TIMEOUT if version < Version::HTTP_2 => {
            headers.insert(header::CONNECTION, CLOSE);
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
            RejectionKind::BodyBroken => "body ended early",
            RejectionKind::SecretsUnavailable => "secret look-up failed",
            RejectionKind::BufferFull => "memory for unfinished bodies is full",
        })
    }
}

impl error::Error for Rejection {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
