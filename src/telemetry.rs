//! What is told to the operator, and the only place that knows by which means.
//!
//! Refusals are `debug`: a stranger chooses their rate. What costs an authentic delivery
//! is `warn` or `error`. Never a body, a secret or a signature. A label of a metric comes
//! from a fixed set: nobody outside can make the set grow.

#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    allow(
        unused_imports,
        unused_variables,
        reason = "neither the log nor the metrics tell everything"
    )
)]

#[cfg(feature = "tracing")]
mod log;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(any(feature = "metrics", feature = "tracing")))]
mod no_stopwatch;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod stopwatch;

#[cfg(not(any(feature = "metrics", feature = "tracing")))]
pub(crate) use self::no_stopwatch::Stopwatch;
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(crate) use self::stopwatch::Stopwatch;
use std::time::Duration;

use axum_core::BoxError;

use crate::{
    delivery::Delivery,
    event::{Envelope, EventError, EventKind},
    idempotency::{Answer, Key},
    rejection::Rejection,
};

/// The layer refused a request.
pub(crate) fn refused(rejection: &Rejection) {
    #[cfg(feature = "tracing")]
    log::refused(rejection);
    #[cfg(feature = "metrics")]
    metrics::refused(rejection);
}

/// The layer verified a delivery.
///
/// Its envelope is read here only if somebody listens, and then the [`Event`](crate::Event)
/// extractor need not read it again.
pub(crate) fn verified(delivery: &Delivery, stopwatch: &Stopwatch) {
    if !details_are_wanted() {
        return;
    }
    let envelope = delivery.envelope().as_ref().ok();
    let event_type = envelope.map(Envelope::event_type);
    let id = envelope.and_then(|envelope| envelope.id.as_ref());
    #[cfg(feature = "tracing")]
    log::verified(delivery, event_type, id, stopwatch.times());
    #[cfg(feature = "metrics")]
    metrics::verified(delivery, event_type, stopwatch.times());
}

/// Whether somebody wants to know what was delivered, and how long it took.
fn details_are_wanted() -> bool {
    #[cfg(feature = "tracing")]
    let logged = log::verified_is_heard();
    #[cfg(not(feature = "tracing"))]
    let logged = false;
    // The `metrics` crate does not tell whether anybody records.
    cfg!(feature = "metrics") || logged
}

/// An authentic delivery is an event, but of a type or shape that this version does not know.
pub(crate) fn unrecognized(event_type: &str, type_is_known: bool) {
    #[cfg(feature = "tracing")]
    log::unrecognized(event_type, type_is_known);
    #[cfg(feature = "metrics")]
    metrics::unrecognized(event_type);
}

/// An authentic delivery is an event of another type than its handler takes.
pub(crate) fn of_another_type(event_type: &str, expected: EventKind) {
    #[cfg(feature = "tracing")]
    log::of_another_type(event_type, expected);
}

/// An authentic delivery is no event at all.
pub(crate) fn undecodable(error: &EventError) {
    #[cfg(feature = "tracing")]
    log::undecodable(error);
}

/// An extractor stands in a handler that the layer does not protect.
pub(crate) fn layer_missing() {
    #[cfg(feature = "tracing")]
    log::layer_missing();
}

/// The idempotency layer answered in place of the handler.
pub(crate) fn not_acted_on(answer: &Answer) {
    #[cfg(feature = "tracing")]
    log::not_acted_on(answer);
    #[cfg(feature = "metrics")]
    metrics::not_acted_on(answer);
}

/// How a handler ended could not be recorded, since its claim is gone. The event may have been
/// acted on by another, or will be.
pub(crate) fn lease_lost(key: &Key, lease: Duration) {
    #[cfg(feature = "tracing")]
    log::lease_lost(key, lease);
    #[cfg(feature = "metrics")]
    metrics::lease_lost();
}

/// The store did not hear how a handler ended.
pub(crate) fn not_recorded(key: &Key, completed: bool, error: &BoxError) {
    #[cfg(feature = "tracing")]
    log::not_recorded(key, completed, error);
    #[cfg(feature = "metrics")]
    metrics::not_recorded(completed);
}

/// A step of an idempotency store. Measured from its first poll, also where it is given up.
pub(crate) async fn store_step<T>(
    step: StoreStep,
    call: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    #[cfg(feature = "metrics")]
    let call = metrics::store_step(step, call);
    call.await
}

/// The steps of an idempotency store, by the names of its methods.
#[derive(Clone, Copy)]
pub(crate) enum StoreStep {
    Claim,
    Complete,
    Release,
}

/// Keeps the caller's span around what runs in a task of its own.
pub(crate) fn in_current_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let future = tracing::Instrument::in_current_span(future);
    future
}
