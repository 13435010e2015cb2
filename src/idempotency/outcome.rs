//! The responses that the layer gives in place of the handler.

use std::{error, fmt, sync::Arc};

use axum_core::{BoxError, body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use crate::{rejection, telemetry::Severity};

/// Marks the response to a duplicate of a completed event.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The reason why [`IdempotencyLayer`](super::IdempotencyLayer) responded in place of the handler.
///
/// The layer puts the outcome into the extensions of the *response*, where an outer layer can count
/// it or replace the response. A response without an `Outcome` comes from the handler, or from the
/// verification layer, which adds a [`Rejection`](crate::Rejection).
///
/// ```
/// use axum::response::Response;
/// use soundhash_webhook::idempotency::{Outcome, OutcomeKind};
///
/// async fn count(response: Response) -> Response {
///     if let Some(outcome) = response.extensions().get::<Outcome>() {
///         match outcome.kind() {
///             OutcomeKind::Duplicate => println!("the event was completed before"),
///             kind => println!("{}: {}", kind.as_str(), outcome.status()),
///         }
///     }
///     response
/// }
/// # let _ = count;
/// ```
#[derive(Clone, Debug)]
pub struct Outcome {
    kind: OutcomeKind,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
}

/// The kinds of [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// The event was completed before: 200, with `Idempotent-Replayed: true`.
    Duplicate,
    /// Another delivery of the event is in progress: 503, with `Retry-After`.
    InProgress,
    /// The store failed, so that the state of the event is not known: 503, with `Retry-After`.
    StoreUnavailable,
    /// The event is older than `max_age`: 401.
    TooOld,
    /// The event does not have a time, and `max_age` is set: 401.
    Undated,
    /// The event's time is more than `clock_skew` ahead, and `max_age` is set: 401.
    FromTheFuture,
    /// The request's method is not POST: 405, with `Allow: POST`.
    MethodNotAllowed,
    /// No [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) verified the request: 500.
    Unverified,
}

impl OutcomeKind {
    /// Returns the status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Duplicate => StatusCode::OK,
            Self::InProgress | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooOld | Self::Undated | Self::FromTheFuture => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unverified => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the name for logs and metrics, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::InProgress => "in_progress",
            Self::StoreUnavailable => "store_unavailable",
            Self::TooOld => "too_old",
            Self::Undated => "undated",
            Self::FromTheFuture => "from_the_future",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Unverified => "unverified",
        }
    }

    /// Returns what the operator should do, for the log.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Duplicate | Self::InProgress => "nothing needs to be done",
            Self::StoreUnavailable => {
                "deliveries fail until the store works again, and SoundHash drops an event \
                 after 7 minutes of retries"
            }
            Self::TooOld => {
                "the delivery is authentic, so check that the clock of this host is synchronized; \
                 if it is, a recorded request was sent again, or max_age is too short"
            }
            Self::FromTheFuture => {
                "the delivery is authentic, so check that the clock of this host is synchronized"
            }
            Self::Undated => {
                "the delivery is authentic, but max_age needs the time in its envelope, so do not \
                 set max_age for a sender that omits it"
            }
            Self::MethodNotAllowed => {
                "the delivery is authentic, but SoundHash sends POST only: a redirect or a proxy \
                 changed the method, or the delivery was recorded and sent again"
            }
            Self::Unverified => "put a SoundHashWebhookLayer around the IdempotencyLayer",
        }
    }

    /// Returns the level at which this kind is logged.
    pub(super) const fn severity(self) -> Severity {
        match self {
            Self::Duplicate | Self::InProgress => Severity::Routine,
            Self::TooOld | Self::FromTheFuture | Self::Undated | Self::MethodNotAllowed => {
                Severity::Warning
            }
            Self::StoreUnavailable | Self::Unverified => Severity::Failure,
        }
    }
}

impl Outcome {
    pub(super) const fn new(kind: OutcomeKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn store_unavailable(source: BoxError) -> Self {
        Self {
            kind: OutcomeKind::StoreUnavailable,
            source: Some(Arc::from(source)),
        }
    }

    /// Returns the reason for the response.
    #[must_use]
    pub const fn kind(&self) -> OutcomeKind {
        self.kind
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(super) fn into_response(self, version: Version) -> Response {
        let mut response = if self.kind == OutcomeKind::Duplicate {
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
            response
        } else {
            // A 401 is the same as that of the verification layer, so that an attacker who replays a
            // delivery does not learn that its signature is right.
            rejection::respond(self.status(), version)
        };
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            OutcomeKind::Duplicate => "event was completed before",
            OutcomeKind::InProgress => "event is in progress",
            OutcomeKind::StoreUnavailable => "idempotency store failed",
            OutcomeKind::TooOld => "event is too old",
            OutcomeKind::Undated => "event has no time",
            OutcomeKind::FromTheFuture => "event is from the future",
            OutcomeKind::MethodNotAllowed => "request is not a POST",
            OutcomeKind::Unverified => "no SoundHashWebhookLayer outside of the IdempotencyLayer",
        })
    }
}

impl error::Error for Outcome {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
