use std::{error, fmt};

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{Extensions, StatusCode, Uri, request};

use crate::{
    delivery::Delivery,
    event::{Event, EventData, EventError, EventErrorKind, EventKind},
    telemetry::{self, Misfit},
};

/// The delivery that the layer left in a request that it verified.
pub(crate) fn verified<'a>(
    extensions: &'a Extensions,
    uri: &Uri,
) -> Result<&'a Delivery, MissingLayer> {
    extensions.get().ok_or_else(|| {
        telemetry::layer_missing(uri.path());
        MissingLayer(())
    })
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
        let delivery =
            verified(&head.extensions, &head.uri).map_err(EventRejection::unprotected)?;
        let event = delivery.event();
        let event = event.map_err(|error| EventRejection::not_an_event(delivery, error))?;
        tell_unrecognized(delivery, &event);
        Ok(event)
    }
}

/// Tells the operator of an event that will not be understood.
pub(super) fn tell_unrecognized(delivery: &Delivery, event: &Event) {
    if let EventData::Unrecognized(data) = &event.data {
        let kind = event.kind().map(EventKind::as_str);
        let misfit = match kind {
            Some(_) => Misfit::Payload,
            None => Misfit::UnknownType,
        };
        delivery.tell_once(|| {
            telemetry::unrecognized(&data.event_type, kind, misfit, event.is_test());
        });
    }
}

/// The handler stands behind no [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), so
/// nothing was verified: 500.
///
/// The peer only learns that it is an internal error; the log names the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingLayer(());

impl MissingLayer {
    /// 500.
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

/// Why a handler's [`Event`] argument could not be had.
///
/// Take a `Result<Event, EventRejection>` to answer it yourself, with a [`Delivery`] beside
/// it for the verified bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRejection(Reason);

#[derive(Clone, Debug, PartialEq)]
enum Reason {
    MissingLayer(MissingLayer),
    NotAnEvent(EventError),
}

impl EventRejection {
    pub(super) fn unprotected(missing: MissingLayer) -> Self {
        Self(Reason::MissingLayer(missing))
    }

    /// Tells the operator, too.
    pub(crate) fn not_an_event(delivery: &Delivery, error: EventError) -> Self {
        delivery.tell_once(|| telemetry::undecodable(&error));
        Self(Reason::NotAnEvent(error))
    }

    /// 400 for a body that is not JSON, 422 for JSON that is no event, 500 where no
    /// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) protects the handler.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Reason::MissingLayer(missing) => missing.status(),
            Reason::NotAnEvent(error) => error.status(),
        }
    }

    /// Why the verified body is no event; `None` where the layer is missing.
    #[must_use]
    pub fn event_error(&self) -> Option<&EventError> {
        match &self.0 {
            Reason::MissingLayer(_) => None,
            Reason::NotAnEvent(error) => Some(error),
        }
    }
}

// Says what its cause says, and so has no `source`.
impl fmt::Display for EventRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::MissingLayer(missing) => missing.fmt(f),
            Reason::NotAnEvent(error) => error.fmt(f),
        }
    }
}

impl error::Error for EventRejection {}

impl IntoResponse for EventRejection {
    fn into_response(self) -> Response {
        match self.0 {
            Reason::MissingLayer(missing) => missing.into_response(),
            // The peer is SoundHash itself, and may know what is wrong with its body.
            Reason::NotAnEvent(error) => (error.status(), error.to_string()).into_response(),
        }
    }
}

// Here and not with the type, so that `event` knows nothing of HTTP.
impl EventError {
    /// The status for a sender of such a body: 400 if it is not JSON, 422 otherwise.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            EventErrorKind::Syntax => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}
