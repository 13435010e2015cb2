//! The response of a layer that does not pass a request on, and the reason for it.

use std::{error, fmt, sync::Arc};

use axum_core::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};

/// The seconds after which a sender may retry. SoundHash ignores this and retries after 60 s.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The authentication scheme, which RFC 9110 §15.5.2 requires every 401 to name.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"HMAC-SHA256 realm="SoundHash webhook""#);

/// Marks the response to a duplicate of a completed event.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Everything that depends only on the kind of a refusal.
#[derive(Clone, Copy)]
pub(crate) struct Reason {
    pub(crate) status: StatusCode,
    /// The name for logs and metrics, in snake case.
    pub(crate) name: &'static str,
    /// The reason in words.
    pub(crate) message: &'static str,
    /// The action that the log suggests to the operator.
    pub(crate) advice: &'static str,
}

/// The kinds of refusals of one layer.
pub(crate) trait Kind: Copy + fmt::Debug {
    fn reason(self) -> &'static Reason;
}

/// The refusal of a request, to which a layer responds in place of the inner service.
/// [`Rejection`](crate::Rejection) and [`Outcome`](crate::idempotency::Outcome) wrap it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal<K> {
    pub(crate) kind: K,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

impl<K: Kind> Refusal<K> {
    pub(crate) const fn new(kind: K) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: K, source: Box<dyn error::Error + Send + Sync>) -> Self {
        let source = Some(Arc::from(source));
        Self { kind, source }
    }

    pub(crate) fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }

    /// Returns the response, which depends only on the status, so that the sender does not learn
    /// the reason. `explain` adds the reason to the text.
    pub(crate) fn response(&self, version: Version, keep_alive: bool, explain: bool) -> Response {
        let Reason {
            status, message, ..
        } = *self.kind.reason();
        let text = text(status);
        let mut response = Response::new(match explain {
            true => Body::from(format!("{text}: {message}")),
            false => Body::from(text),
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let (name, value) = match status {
            StatusCode::OK => (REPLAYED, HeaderValue::from_static("true")),
            _ => (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            ),
        };
        headers.insert(name, value);
        match status {
            StatusCode::UNAUTHORIZED => headers.insert(header::WWW_AUTHENTICATE, CHALLENGE),
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"))
            }
            StatusCode::SERVICE_UNAVAILABLE => headers.insert(header::RETRY_AFTER, RETRY_AFTER),
            _ => None,
        };
        // RFC 9110 §15.5.9 recommends to close the connection after a 408. HTTP/2 does not have
        // this header.
        let close = !keep_alive || status == StatusCode::REQUEST_TIMEOUT;
        if close && version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, CLOSE);
        }
        response
    }
}

impl<K: Kind> fmt::Display for Refusal<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.reason().message)
    }
}

/// Returns the text of a response.
const fn text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "",
        // The receivers in SoundHash's documentation respond with this text.
        StatusCode::UNAUTHORIZED => "Invalid signature",
        StatusCode::PAYLOAD_TOO_LARGE => "Body too large",
        StatusCode::REQUEST_TIMEOUT => "Body not received in time",
        StatusCode::BAD_REQUEST => "Body not received",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::INTERNAL_SERVER_ERROR => "Internal server error",
        _ => "Service unavailable",
    }
}
