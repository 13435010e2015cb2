//! The reasons why the idempotency layer responds in place of the handler.

use std::{error, fmt};

use axum_core::{BoxError, response::Response};
use http::{StatusCode, Version};

use crate::{
    refusal::{Kind, Reason, Refusal},
    telemetry::Severity,
};

/// The reason why [`IdempotencyLayer`](super::IdempotencyLayer) responded in place of the handler.
///
/// The layer puts the outcome into the extensions of the *response*, where an outer layer can count
/// it or replace the response. A response without an `Outcome` comes from the handler, or from the
/// verification layer, which adds a [`Rejection`](crate::Rejection).
///
/// An outcome is not an [`Error`](error::Error), because a duplicate is not a failure.
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
pub struct Outcome(Refusal<OutcomeKind>);

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
        self.reason().status
    }

    /// Returns the name for logs and metrics, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.reason().name
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

    pub(super) const fn reason(self) -> &'static Reason {
        match self {
            Self::Duplicate => &Reason {
                status: StatusCode::OK,
                name: "duplicate",
                message: "event was completed before",
                advice: "nothing needs to be done",
            },
            Self::InProgress => &Reason {
                status: StatusCode::SERVICE_UNAVAILABLE,
                name: "in_progress",
                message: "event is in progress",
                advice: "nothing needs to be done",
            },
            Self::StoreUnavailable => &Reason {
                status: StatusCode::SERVICE_UNAVAILABLE,
                name: "store_unavailable",
                message: "idempotency store failed",
                advice: "deliveries fail until the store works again, and SoundHash drops an event \
                         after 7 minutes of retries",
            },
            Self::TooOld => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "too_old",
                message: "event is too old",
                advice: "the delivery is authentic, so check that the clock of this host is \
                         synchronized; if it is, a recorded request was sent again, or max_age is \
                         too short",
            },
            Self::Undated => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "undated",
                message: "event has no time",
                advice: "the delivery is authentic, but max_age needs the time in its envelope, so \
                         do not set max_age for a sender that omits it",
            },
            Self::FromTheFuture => &Reason {
                status: StatusCode::UNAUTHORIZED,
                name: "from_the_future",
                message: "event is from the future",
                advice: "the delivery is authentic, so check that the clock of this host is \
                         synchronized",
            },
            Self::MethodNotAllowed => &Reason {
                status: StatusCode::METHOD_NOT_ALLOWED,
                name: "method_not_allowed",
                message: "request is not a POST",
                advice: "the delivery is authentic, but SoundHash sends POST only: a redirect or a \
                         proxy changed the method, or the delivery was recorded and sent again",
            },
            Self::Unverified => &Reason {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                name: "unverified",
                message: "no SoundHashWebhookLayer outside of the IdempotencyLayer",
                advice: "put a SoundHashWebhookLayer around the IdempotencyLayer",
            },
        }
    }
}

impl Kind for OutcomeKind {
    fn reason(self) -> &'static Reason {
        Self::reason(self)
    }
}

impl Outcome {
    pub(super) const fn new(kind: OutcomeKind) -> Self {
        Self(Refusal::new(kind))
    }

    pub(super) fn store_unavailable(source: BoxError) -> Self {
        Self(Refusal::with_source(OutcomeKind::StoreUnavailable, source))
    }

    /// Returns the reason for the response.
    #[must_use]
    pub const fn kind(&self) -> OutcomeKind {
        self.0.kind
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind().status()
    }

    /// Returns the error of the store, if the store failed.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }

    /// Returns the response. A 401 is the same as the 401 of the verification layer, so that an
    /// attacker who replays a delivery does not learn that its signature is right.
    pub(super) fn into_response(self, version: Version) -> Response {
        let mut response = self.0.response(version, true, false);
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
