//! The extractors [`Delivery`], [`Event`] and [`Payload`], and their rejections.

use std::{
    error, fmt,
    ops::{Deref, DerefMut},
};

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{Extensions, StatusCode, Uri, request};

use crate::{
    delivery::Delivery,
    event::{Event, EventData, EventError, EventErrorKind, EventKind, EventPayload},
    telemetry,
};

/// Returns the delivery that the layer put into the extensions of a verified request.
pub(crate) fn verified<'a>(
    extensions: &'a Extensions,
    uri: &Uri,
) -> Result<&'a Delivery, MissingLayer> {
    extensions.get().ok_or_else(|| {
        telemetry::layer_missing(uri.path());
        MissingLayer(())
    })
}

fn event(head: &request::Parts) -> Result<&Event, EventRejection> {
    let delivery = verified(&head.extensions, &head.uri)?;
    let event = delivery.event();
    event.map_err(EventRejection::not_an_event)
}

impl<S: Sync> FromRequestParts<S> for Delivery {
    type Rejection = MissingLayer;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        verified(&head.extensions, &head.uri).cloned()
    }
}

impl<S: Sync> FromRequestParts<S> for Event {
    type Rejection = EventRejection;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        event(head).cloned()
    }
}

/// An extractor for the payload of a single event type.
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
/// The extractor responds with 422 if the event has a different type, or if the payload does not
/// fit the type. Use it only for an endpoint that is registered for a single event type.
/// SoundHash's "test this webhook" button can send any payload, and reports a failure if it does
/// not fit. For several types, use an `EventRouter` (feature `router`), which calls a handler for
/// each type and accepts all others. To handle a mismatch yourself, take a `Result<Payload<T>,
/// PayloadRejection>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<T>(pub T);

impl<T> Deref for Payload<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Payload<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: EventPayload, S: Sync> FromRequestParts<S> for Payload<T> {
    type Rejection = PayloadRejection;

    async fn from_request_parts(head: &mut request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let event = event(head)?;
        match T::of(&event.data) {
            Some(payload) => Ok(Payload(payload.clone())),
            None => Err(PayloadRejection::other_payload(event, T::KIND)),
        }
    }
}

/// The rejection with which the extractors respond if no
/// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) protects the handler.
///
/// The request was not verified, so the response is a plain "500 Internal server error". Only the
/// log says that the layer is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingLayer(());

impl MissingLayer {
    /// Returns 500.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

impl fmt::Display for MissingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no SoundHashWebhookLayer around this handler")
    }
}

impl error::Error for MissingLayer {}

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        (self.status(), "Internal server error").into_response()
    }
}

/// The rejection of the [`Event`] extractor.
///
/// To handle the rejection yourself, take a `Result<Event, EventRejection>`, plus a [`Delivery`] if
/// you need the verified bytes.
///
/// `Option<Event>` is deliberately not an extractor. A `None` could mean that the body is not an
/// event, or that the layer is missing and nothing was verified. A handler that responds to `None`
/// with 200 would lose the body in the first case and hide the missing layer in the second. A
/// `Result` contains the reason:
///
/// ```compile_fail,E0277
/// # use soundhash_webhook::Event;
/// async fn receive(event: Option<Event>) {}
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EventRejection(
    /// The reason why the body is not an event, or `None` if the layer is missing.
    Option<EventError>,
);

/// The kinds of [`EventRejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventRejectionKind {
    /// No [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) protects the handler.
    MissingLayer,
    /// The verified body is not an event.
    NotAnEvent,
}

impl EventRejection {
    pub(crate) fn not_an_event(error: &EventError) -> Self {
        Self(Some(error.clone()))
    }

    /// Returns the kind of the rejection.
    #[must_use]
    pub fn kind(&self) -> EventRejectionKind {
        match self.event_error() {
            None => EventRejectionKind::MissingLayer,
            Some(_) => EventRejectionKind::NotAnEvent,
        }
    }

    /// Returns the status of the response.
    ///
    /// It is 400 if the body is not JSON, 422 if it is JSON but not an event, and 500 if no
    /// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) protects the handler.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.event_error() {
            None => MissingLayer(()).status(),
            Some(error) => error.status(),
        }
    }

    /// Returns why the verified body is not an event, or `None` if the layer is missing.
    #[must_use]
    pub fn event_error(&self) -> Option<&EventError> {
        self.0.as_ref()
    }
}

impl From<MissingLayer> for EventRejection {
    fn from(_: MissingLayer) -> Self {
        Self(None)
    }
}

// `source` is `None`, because `Display` prints the cause.
impl fmt::Display for EventRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event_error() {
            None => MissingLayer(()).fmt(f),
            Some(error) => error.fmt(f),
        }
    }
}

impl error::Error for EventRejection {}

impl IntoResponse for EventRejection {
    fn into_response(self) -> Response {
        match self.0 {
            None => MissingLayer(()).into_response(),
            // SoundHash signed the body, so only SoundHash sees this text.
            Some(error) => telemetry::logged((error.status(), error.to_string()).into_response()),
        }
    }
}

// Defined here to keep the `event` module independent of HTTP.
impl EventError {
    /// Returns the status that the extractors respond with: 400 if the body is not JSON, and 422
    /// otherwise.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            EventErrorKind::Syntax => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// The rejection of the [`Payload`] extractor.
///
/// To handle the rejection yourself, take a `Result<Payload<T>, PayloadRejection>`. If the body is
/// an event, [`event`](Self::event) returns the event. [`Display`](fmt::Display) and
/// [`Debug`](fmt::Debug) do not show the payload.
///
/// ```
/// use axum::http::StatusCode;
/// use soundhash_webhook::{Payload, PayloadRejection, PayloadRejectionKind, VideoProcessed};
///
/// async fn receive(video: Result<Payload<VideoProcessed>, PayloadRejection>) -> StatusCode {
///     match video {
///         Ok(video) => println!("processed {:?}", video.title),
///         Err(rejection) if rejection.kind() == PayloadRejectionKind::OtherType => {
///             println!("ignored: {rejection}");
///         }
///         Err(rejection) => return rejection.status(),
///     }
///     StatusCode::OK
/// }
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
#[derive(Clone, PartialEq)]
pub struct PayloadRejection(
    /// The event along with the type that the handler expects, or the reason why the body is not an
    /// event.
    Result<(Box<Event>, EventKind), EventRejection>,
);

/// The kinds of [`PayloadRejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadRejectionKind {
    /// No [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) protects the handler.
    MissingLayer,
    /// The verified body is not an event.
    NotAnEvent,
    /// The event has a different type.
    OtherType,
    /// The event has the expected type, but its payload does not fit the type.
    PayloadDoesNotFit,
}

impl PayloadRejection {
    /// Creates a rejection, and logs an event of another type.
    pub(crate) fn other_payload(event: &Event, expected: EventKind) -> Self {
        if !matches!(event.data, EventData::Unrecognized(_)) {
            telemetry::of_another_type(expected.as_str());
        }
        Self(Ok((Box::new(event.clone()), expected)))
    }

    /// Returns the kind of the rejection.
    #[must_use]
    pub fn kind(&self) -> PayloadRejectionKind {
        match &self.0 {
            Err(rejection) => match rejection.kind() {
                EventRejectionKind::MissingLayer => PayloadRejectionKind::MissingLayer,
                EventRejectionKind::NotAnEvent => PayloadRejectionKind::NotAnEvent,
            },
            Ok((event, expected)) => match event.kind() {
                Some(kind) if kind == *expected => PayloadRejectionKind::PayloadDoesNotFit,
                _ => PayloadRejectionKind::OtherType,
            },
        }
    }

    /// Returns the status of the response.
    ///
    /// It is 422 if the body is an event, and the same as [`EventRejection::status`] otherwise.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Err(rejection) => rejection.status(),
            Ok(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    /// Returns the event, or `None` if the body is not an event or the layer is missing.
    ///
    /// If the payload does not fit its type, the event's data is
    /// [`Unrecognized`](crate::Unrecognized), which contains the reason.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        self.0.as_ref().ok().map(|(event, _)| &**event)
    }

    /// Returns why the body could not be parsed as an event, or `None` if it is an event.
    #[must_use]
    pub fn event_rejection(&self) -> Option<&EventRejection> {
        self.0.as_ref().err()
    }
}

impl From<EventRejection> for PayloadRejection {
    fn from(rejection: EventRejection) -> Self {
        Self(Err(rejection))
    }
}

/// Shows the same text as `Display`, to keep the payload out of the log.
impl fmt::Debug for PayloadRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadRejection({self})")
    }
}

// `source` is `None`, because `Display` prints the cause.
impl fmt::Display for PayloadRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, expected) = match &self.0 {
            Err(rejection) => return rejection.fmt(f),
            Ok((event, expected)) => (event, expected),
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
            Err(rejection) => rejection.into_response(),
            // SoundHash signed the event, so only SoundHash sees this text.
            Ok(_) => telemetry::logged((self.status(), self.to_string()).into_response()),
        }
    }
}
