//! What is told to the operator, and the only place that knows by which means.
//!
//! Refusals are `debug`: a stranger chooses their rate. What costs an authentic delivery
//! is `warn` or `error`. Never a body, a secret or a signature.

use crate::{
    event::{EventError, Unrecognized},
    rejection::{Rejection, RejectionKind},
};

/// The layer refused a request.
pub(crate) fn refused(rejection: &Rejection) {
    #[cfg(feature = "tracing")]
    {
        let (reason, source) = (
            rejection.kind().as_str(),
            std::error::Error::source(rejection),
        );
        if rejection.kind() == RejectionKind::SecretsUnavailable {
            tracing::error!(reason, source, "webhook refused: {rejection}");
        } else {
            tracing::debug!(reason, source, "webhook refused: {rejection}");
        }
    }
}

/// An authentic delivery is an event, but of a type or shape that this version does not know.
pub(crate) fn unrecognized(event: &Unrecognized) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        event_type = ?event.event_type,
        reason = event.reason,
        "webhook event not recognized",
    );
}

/// An authentic delivery is no event at all.
pub(crate) fn undecodable(error: &EventError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "webhook body is not an event");
}

/// An extractor stands in a handler that the layer does not protect.
pub(crate) fn layer_missing() {
    #[cfg(feature = "tracing")]
    tracing::error!(
        "no SoundHashWebhookLayer around this handler: nothing is verified, so it was answered with 500"
    );
}
