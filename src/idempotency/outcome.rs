//! The reasons why the idempotency layer responds without calling the handler.

use std::{error, fmt};

use axum_core::{
    BoxError,
    response::{IntoResponse, Response},
};
use http::{StatusCode, Version};

use crate::{
    refusal::{Kind, Refusal, kinds},
    telemetry::Severity,
};

/// The reason why [`IdempotencyLayer`](super::IdempotencyLayer) responded without calling the
/// handler.
///
/// The layer adds the outcome to the *response* extensions, so that an outer layer can count it or
/// replace the response. A response without an `Outcome` comes from the handler, or from the
/// verification layer, which adds a [`Rejection`](crate::Rejection) instead. A handler can also
/// respond with an outcome itself, for example by returning an error from `soundhash-webhook-sqlx`.
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

kinds! {
    /// The kinds of [`Outcome`].
    OutcomeKind {
        /// The event was already completed: 200, with `Idempotent-Replayed: true`.
        Duplicate: OK, Routine, "duplicate", "event was completed before",
            "nothing needs to be done";
        /// Another delivery of the event is in progress: 503, with `Retry-After`.
        InProgress: SERVICE_UNAVAILABLE, Routine, "in_progress", "event is in progress",
            "nothing needs to be done";
        /// The store failed, so the event's state is unknown: 503, with `Retry-After`.
        StoreUnavailable: SERVICE_UNAVAILABLE, Failure, "store_unavailable", "idempotency store failed",
            "deliveries fail until the store works again, and SoundHash drops an event after 7 \
             minutes of retries";
        /// The event is older than `max_age`: 401.
        TooOld: UNAUTHORIZED, Warning, "too_old", "event is too old",
            "the delivery is authentic, so check that the clock of this host is synchronized; if \
             it is, a recorded request was sent again, or max_age is too short";
        /// The event has no time, and `max_age` is set: 401.
        Undated: UNAUTHORIZED, Warning, "undated", "event has no time",
            "the delivery is authentic, but max_age needs the time in its envelope, so do not \
             set max_age for a sender that omits it";
        /// The event's time is more than `clock_skew` ahead, and `max_age` is set: 401.
        FromTheFuture: UNAUTHORIZED, Warning, "from_the_future", "event is from the future",
            "the delivery is authentic, so check that the clock of this host is synchronized";
        /// The request's method is not POST: 405, with `Allow: POST`.
        MethodNotAllowed: METHOD_NOT_ALLOWED, Warning, "method_not_allowed", "request is not a POST",
            "the delivery is authentic, but SoundHash only sends POST: a redirect or a proxy \
             changed the method, or the delivery was recorded and sent again";
        /// No [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) verified the request: 500.
        Unverified: INTERNAL_SERVER_ERROR, Failure, "unverified", "no SoundHashWebhookLayer outside of the IdempotencyLayer",
            "put a SoundHashWebhookLayer around the IdempotencyLayer";
    }
}

impl Outcome {
    pub(super) const fn new(kind: OutcomeKind) -> Self {
        Self(Refusal::new(kind))
    }

    /// Creates the outcome for a store failure.
    ///
    /// A handler that records events in its own store can respond with this outcome. The response
    /// is a 503 with `Retry-After`, and does not reveal `source`.
    #[must_use]
    pub fn store_unavailable(source: impl Into<BoxError>) -> Self {
        let kind = OutcomeKind::StoreUnavailable;
        Self(Refusal::with_source(kind, source.into()))
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

    /// Returns the store's error if the store failed.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}

/// A 401 is identical to the 401 of the verification layer, so that an attacker who replays a
/// delivery does not learn that the signature is valid.
impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        // The HTTP version matters only for a response that closes the connection, which this
        // layer's responses never do.
        let mut response = self.0.response(Version::HTTP_11, true, false);
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
