use std::{error, fmt};

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request};

use super::{EventRejection, event::tell_unrecognized, verified};
use crate::{
    delivery::Delivery,
    event::{Event, EventData, EventKind, EventPayload},
    telemetry,
};

/// The payload of an event of one type, for a handler that takes no other.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{MatchFound, Payload, SoundHashWebhookLayer};
///
/// async fn receive(Payload(found): Payload<MatchFound>) -> StatusCode {
///     println!("{} matches", found.matches.len());
///     StatusCode::OK
/// }
///
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(receive))
///     .layer(SoundHashWebhookLayer::new("whsec_test"));
/// ```
///
/// An event of another type, or whose payload has not the shape of its type, is answered with
/// 422. That suits an endpoint that is registered for this one type; SoundHash's "test this
/// webhook" button, which sends anything, still shows a failure. To serve several types, an
/// `EventRouter` (feature `router`) calls a handler for each, and accepts the rest; and a
/// `Result<Payload<T>, PayloadRejection>` leaves the answer to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<T>(pub T);

impl<T: EventPayload, S: Sync> FromRequestParts<S> for Payload<T> {
    type Rejection = PayloadRejection;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let delivery =
            verified(&head.extensions, &head.uri).map_err(EventRejection::unprotected)?;
        let event = delivery
            .event_ref()
            .map_err(|error| EventRejection::not_an_event(delivery, error.clone()))?;
        match T::of(&event.data) {
            Some(payload) => Ok(Payload(payload.clone())),
            None => Err(PayloadRejection::another(delivery, event, T::KIND)),
        }
    }
}

/// Why a handler's [`Payload`] argument could not be had. It prints nothing of the body.
///
/// Take a `Result<Payload<T>, PayloadRejection>` to answer it yourself; the event, if it is one,
/// is in here:
///
/// ```
/// use axum::http::StatusCode;
/// use soundhash_webhook::{Payload, PayloadRejection, VideoProcessed};
///
/// async fn receive(video: Result<Payload<VideoProcessed>, PayloadRejection>) -> StatusCode {
///     match video {
///         Ok(Payload(video)) => println!("processed {:?}", video.title),
///         Err(rejection) => match rejection.event() {
///             Some(other) => println!("not for us: {}", other.event_type()),
///             None => return rejection.status(),
///         },
///     }
///     StatusCode::OK
/// }
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
#[derive(Clone, PartialEq)]
pub struct PayloadRejection(Reason);

#[derive(Clone, PartialEq)]
enum Reason {
    NoEvent(EventRejection),
    Another {
        event: Box<Event>,
        expected: EventKind,
    },
}

/// As `Display`, lest the event's payload come into a log.
impl fmt::Debug for PayloadRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadRejection({self})")
    }
}

impl PayloadRejection {
    /// Tells the operator, too.
    fn another(delivery: &Delivery, event: &Event, expected: EventKind) -> Self {
        match event.data {
            EventData::Unrecognized(_) => tell_unrecognized(delivery, event),
            _ => telemetry::of_another_type(event.event_type(), expected.as_str()),
        }
        Self(Reason::Another {
            event: Box::new(event.clone()),
            expected,
        })
    }

    /// 422 for an event that has not this payload; otherwise as
    /// [`EventRejection::status`].
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Reason::NoEvent(rejection) => rejection.status(),
            Reason::Another { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    /// The event that has another payload; `None` where there is no event. Of one whose payload
    /// does not fit, [`Unrecognized`](crate::Unrecognized) says why.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match &self.0 {
            Reason::NoEvent(_) => None,
            Reason::Another { event, .. } => Some(event),
        }
    }

    /// Why there is no event; `None` where there is one.
    #[must_use]
    pub fn event_rejection(&self) -> Option<&EventRejection> {
        match &self.0 {
            Reason::NoEvent(rejection) => Some(rejection),
            Reason::Another { .. } => None,
        }
    }
}

impl From<EventRejection> for PayloadRejection {
    fn from(rejection: EventRejection) -> Self {
        Self(Reason::NoEvent(rejection))
    }
}

// Says what its cause says, and so has no `source`.
impl fmt::Display for PayloadRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, expected) = match &self.0 {
            Reason::NoEvent(rejection) => return rejection.fmt(f),
            Reason::Another { event, expected } => (event, expected),
        };
        match event.kind() {
            Some(kind) if kind == *expected => write!(f, "payload does not fit {expected}"),
            Some(kind) => write!(f, "event is {kind} and not {expected}"),
            None => write!(f, "event is of an unknown type and not {expected}"),
        }
    }
}

impl error::Error for PayloadRejection {}

impl IntoResponse for PayloadRejection {
    fn into_response(self) -> Response {
        match self.0 {
            Reason::NoEvent(rejection) => rejection.into_response(),
            // The peer is SoundHash itself, and may know what is wrong with its event.
            Reason::Another { .. } => (self.status(), self.to_string()).into_response(),
        }
    }
}
