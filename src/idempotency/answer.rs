use std::{error, fmt, sync::Arc};

use axum_core::BoxError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version};

use crate::{rejection, telemetry::Severity};

/// On the answer to a duplicate of an event that was completed before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What [`IdempotencyLayer`](super::IdempotencyLayer) answered in place of the handler, and
/// why.
///
/// It stands in the *response's* extensions, where an outer layer finds it to count or to
/// rewrite it. A response without one is the handler's own (or the verification's, which has
/// a [`Rejection`](crate::Rejection)).
///
/// ```
/// use axum::response::Response;
/// use soundhash_webhook::idempotency::{Answer, AnswerKind};
///
/// async fn count(response: Response) -> Response {
///     if let Some(answer) = response.extensions().get::<Answer>() {
///         match answer.kind() {
///             AnswerKind::Duplicate => println!("sent again, done before"),
///             kind => println!("{}: {}", kind.as_str(), answer.status()),
///         }
///     }
///     response
/// }
/// # let _ = count;
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    kind: AnswerKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

/// The kinds of [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerKind {
    /// The event was completed before: 200, with `Idempotent-Replayed: true`.
    Duplicate,
    /// The event is being worked on: 503, with `Retry-After`.
    InProgress,
    /// The store failed, so that nothing is known: 503, with `Retry-After`.
    StoreUnavailable,
    /// The event is older than `max_age`: 401.
    TooOld,
    /// The event says no time, and `max_age` is on: 401.
    Undated,
    /// The event's time is more than `clock_skew` ahead, and `max_age` is on: 401.
    FromTheFuture,
    /// No [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) verified the request: 500.
    Unverified,
}

impl AnswerKind {
    /// The status that the request was answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Duplicate => StatusCode::OK,
            Self::InProgress | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooOld | Self::Undated | Self::FromTheFuture => StatusCode::UNAUTHORIZED,
            Self::Unverified => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A name for logs and metrics, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::InProgress => "in_progress",
            Self::StoreUnavailable => "store_unavailable",
            Self::TooOld => "too_old",
            Self::Undated => "undated",
            Self::FromTheFuture => "from_the_future",
            Self::Unverified => "unverified",
        }
    }

    /// What the operator should do, for the log.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Duplicate | Self::InProgress => "nothing needs to be done",
            Self::StoreUnavailable => {
                "deliveries fail until the store works again, and SoundHash stops to retry \
                 after some minutes"
            }
            Self::TooOld | Self::FromTheFuture => {
                "the delivery is authentic, so check that the clock of this host is synchronised; \
                 with a right clock, it was recorded and sent again, or max_age is too short"
            }
            Self::Undated => {
                "the delivery is authentic, but max_age needs the time in its envelope"
            }
            Self::Unverified => "put a SoundHashWebhookLayer around the IdempotencyLayer",
        }
    }

    /// The level of the log for this kind.
    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::Duplicate | Self::InProgress => Severity::Routine,
            Self::TooOld | Self::FromTheFuture | Self::Undated => Severity::Warning,
            Self::StoreUnavailable | Self::Unverified => Severity::Failure,
        }
    }
}

impl Answer {
    pub(super) const fn new(kind: AnswerKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn store_unavailable(source: BoxError) -> Self {
        Self {
            kind: AnswerKind::StoreUnavailable,
            source: Some(Arc::from(source)),
        }
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> AnswerKind {
        self.kind
    }

    /// The status that the request was answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(super) fn into_response<B: From<Bytes>>(self, version: Version) -> Response<B> {
        let mut response = if self.kind == AnswerKind::Duplicate {
            let mut response = Response::new(B::from(Bytes::new()));
            let headers = response.headers_mut();
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
            response
        } else {
            // As the verification's own: whoever replays a request does not learn that its
            // signature is right.
            rejection::respond(self.status(), version)
        };
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AnswerKind::Duplicate => "event was completed before",
            AnswerKind::InProgress => "event is being worked on",
            AnswerKind::StoreUnavailable => "idempotency store failed",
            AnswerKind::TooOld => "event is too old",
            AnswerKind::Undated => "event says no time",
            AnswerKind::FromTheFuture => "event is from the future",
            AnswerKind::Unverified => "no SoundHashWebhookLayer outside of the IdempotencyLayer",
        })
    }
}

impl error::Error for Answer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
