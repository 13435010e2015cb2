//! The response with which a layer refuses a request, and the reason for it.

use std::{error, fmt, sync::Arc};

use axum_core::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};

/// The number of seconds after which a sender may retry. SoundHash ignores this header and waits 60
/// s.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The authentication scheme, which RFC 9110 §15.5.2 requires every 401 to name.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"HMAC-SHA256 realm="SoundHash webhook""#);

/// Marks the response to a duplicate of a completed event.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A kind of refusal. Each layer has its own enum of kinds.
pub(crate) trait Kind: Copy + fmt::Debug {
    fn status(self) -> StatusCode;
    /// Returns the text of the response.
    fn text(self) -> &'static str;
    /// Returns the reason in words.
    fn message(self) -> &'static str;
}

/// Defines the refusal kinds of one layer. Each kind has a status, a severity, a name for logs and
/// metrics, the reason in words, and advice for the operator, which appears only in the log.
macro_rules! kinds {
    (
        $(#[doc = $docs:literal])*
        $Kinds:ident {$(
            $(#[doc = $doc:literal])*
            $Kind:ident: $status:ident, $severity:ident, $name:literal, $message:literal,
            $advice:expr;
        )*}
    ) => {
        $(#[doc = $docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $Kinds {$(
            $(#[doc = $doc])*
            $Kind,
        )*}

        impl $Kinds {
            /// The names for logs and metrics.
            pub(crate) const NAMES: &[&str] = &[$($name),*];

            /// Returns the status of the response.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$Kind => StatusCode::$status,)*
                }
            }

            /// Returns the name for logs and metrics, in snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Kind => $name,)*
                }
            }

            /// Returns the level at which this kind is logged.
            pub(crate) const fn severity(self) -> Severity {
                match self {
                    $(Self::$Kind => Severity::$severity,)*
                }
            }

            pub(crate) const fn advice(self) -> &'static str {
                match self {
                    $(Self::$Kind => $advice,)*
                }
            }
        }

        impl Kind for $Kinds {
            fn status(self) -> StatusCode {
                Self::status(self)
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$Kind => {
                        // Compilation fails if the status has no text.
                        const TEXT: &str = crate::refusal::text(StatusCode::$status);
                        TEXT
                    })*
                }
            }

            fn message(self) -> &'static str {
                match self {
                    $(Self::$Kind => $message,)*
                }
            }
        }
    };
}
pub(crate) use kinds;

/// The refusal of a request, which gets a response without reaching the inner service.
/// [`Rejection`](crate::Rejection) and [`Outcome`](crate::idempotency::Outcome) wrap this type.
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

    /// Returns the response. It depends only on the status, so that the sender does not learn the
    /// reason, unless `explain` adds the reason to the text.
    pub(crate) fn response(&self, version: Version, keep_alive: bool, explain: bool) -> Response {
        let status = self.kind.status();
        let text = self.kind.text();
        let mut response = Response::new(match explain {
            true => Body::from(format!("{text}: {self}")),
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
        // RFC 9110 §15.5.9 recommends closing the connection after a 408. HTTP/2 forbids the
        // `Connection` header.
        let close = !keep_alive || status == StatusCode::REQUEST_TIMEOUT;
        if close && version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, CLOSE);
        }
        response
    }
}

impl<K: Kind> fmt::Display for Refusal<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.message())
    }
}

/// Returns the text of all responses with this status.
pub(crate) const fn text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "",
        // SoundHash's documentation uses this text in its sample receivers.
        StatusCode::UNAUTHORIZED => "Invalid signature",
        StatusCode::PAYLOAD_TOO_LARGE => "Body too large",
        StatusCode::REQUEST_TIMEOUT => "Body not received in time",
        StatusCode::BAD_REQUEST => "Body not received",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::INTERNAL_SERVER_ERROR => "Internal server error",
        StatusCode::SERVICE_UNAVAILABLE => "Service unavailable",
        _ => panic!("give this status a text, and the headers that it requires"),
    }
}
