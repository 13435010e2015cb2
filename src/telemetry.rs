//! What is told to the operator, and the only place that knows by which means.
//!
//! Refusals are `debug`: a stranger chooses their rate. What costs an authentic delivery
//! is `warn` or `error`. Never a body, a secret or a signature.
#![cfg_attr(
    not(feature = "tracing"),
    allow(unused_imports, unused_variables, reason = "nobody is told")
)]

use std::time::Duration;

use axum_core::BoxError;

use crate::{
    event::{EventError, Unrecognized},
    idempotency::{Answer, AnswerKind, Key},
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
    {
        // Not the reason, which may show a part of the payload; and the type is as long as
        // its sender likes.
        let event_type: String = event.event_type.chars().take(64).collect();
        tracing::warn!(?event_type, "webhook event not recognized");
    }
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

/// The idempotency layer answered in place of the handler.
pub(crate) fn not_acted_on(answer: &Answer) {
    #[cfg(feature = "tracing")]
    {
        let (reason, source) = (answer.kind().as_str(), std::error::Error::source(answer));
        match answer.kind() {
            AnswerKind::StoreUnavailable | AnswerKind::Unverified => {
                tracing::error!(reason, source, "webhook not acted on: {answer}");
            }
            _ => tracing::debug!(reason, source, "webhook not acted on: {answer}"),
        }
    }
}

/// How a handler ended could not be recorded, since its claim is gone. The event may have been
/// acted on by another, or will be.
pub(crate) fn lease_lost(key: &Key, lease: Duration) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        %key,
        ?lease,
        "webhook handler outlived its lease, or the store forgot it: the event may be acted on twice"
    );
}

/// The store did not hear how a handler ended.
pub(crate) fn not_recorded(key: &Key, completed: bool, error: &BoxError) {
    #[cfg(feature = "tracing")]
    tracing::error!(%key, completed, %error, "idempotency store failed: trying again until the lease ends");
}

/// Keeps the caller's span around what runs in a task of its own.
pub(crate) fn in_current_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let future = tracing::Instrument::in_current_span(future);
    future
}
