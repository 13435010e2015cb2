//! The log and the metrics. Only this module uses `tracing` and `metrics`.
//!
//! Every function takes plain values, so that this module does not import the rest of the crate.
//! The files, in the order in which a request passes through them:
//!
//! - `stopwatch`: times the body.
//! - `rejections`: limits how often the rejections of a layer are logged.
//! - `handling`: runs the handler in a span, and reports handlers that are canceled.
//! - `log`: the lines and the span.
//! - `metrics`: the counters and histograms.
//!
//! No function takes a body, a secret or a signature. Text from a request is escaped and truncated
//! before it is logged. A metric's label is always a `&'static str`, so that requests cannot add time
//! series.

#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    allow(
        dead_code,
        unused_imports,
        unused_variables,
        clippy::unused_self,
        reason = "some values are only logged, others only measured"
    )
)]

mod handling;
#[cfg(feature = "tracing")]
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod rejections;
mod stopwatch;

use std::{error::Error, fmt::Display, time::Duration};

use axum_core::BoxError;

pub(crate) use self::{
    handling::{HandlerWatch, Handling, WeakWatch, detached},
    rejections::RejectionLog,
    stopwatch::Stopwatch,
};

/// Identifies a verified delivery.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryFields<'a> {
    pub(crate) id: Option<&'a dyn Display>,
    /// The type as the sender wrote it, or `None` if the body is not an event.
    pub(crate) event_type: Option<&'a str>,
    /// The same type, if this version of the crate knows it.
    pub(crate) known_type: Option<&'static str>,
    pub(crate) endpoint: Option<&'a str>,
}

/// A request to which a layer responded in place of the handler.
#[derive(Clone, Copy)]
pub(crate) struct Rejected<'a> {
    /// The name of the reason, in snake case.
    pub(crate) reason: &'static str,
    /// The reason in words.
    pub(crate) message: &'a dyn Display,
    /// The next step for the operator.
    pub(crate) advice: &'static str,
    pub(crate) severity: Severity,
    pub(crate) source: Option<&'a (dyn Error + 'static)>,
    /// The path of the request, without its query.
    pub(crate) path: &'a str,
    pub(crate) endpoint: Option<&'a str>,
}

/// The level at which a [`Rejected`] request is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Normal operation. Logged at `debug`.
    Routine,
    /// A fault of the sender or an attacker. Logged at `warn`, limited in rate.
    Warning,
    /// A failure of this service or of a service that it depends on. Logged at `error`, limited in
    /// rate.
    Failure,
}

/// Returns whether anything is recorded at all. If not, callers can skip work that only the log or
/// the metrics need.
#[inline]
pub(crate) fn is_on() -> bool {
    #[cfg(feature = "tracing")]
    let logs = log::is_on();
    #[cfg(not(feature = "tracing"))]
    let logs = false;
    // The `metrics` crate does not say whether a recorder is installed.
    cfg!(feature = "metrics") || logs
}

/// Records that the verification layer rejected a request.
pub(crate) fn rejected(log: &RejectionLog, rejected: &Rejected<'_>) {
    log.record(rejected);
    #[cfg(feature = "metrics")]
    metrics::rejected(rejected.reason);
}

/// Records that the verification layer accepted a delivery, and returns the watch for its handler.
///
/// `delivery` parses the envelope. It is called at most once, and only if its fields are recorded.
pub(crate) fn verified<'a>(
    delivery: impl FnOnce() -> DeliveryFields<'a>,
    bytes: usize,
    matched_secret: usize,
    stopwatch: &Stopwatch,
) -> Option<HandlerWatch> {
    if !is_on() {
        return None;
    }
    let records = records_verified();
    #[cfg(feature = "tracing")]
    let has_span = log::has_span();
    #[cfg(not(feature = "tracing"))]
    let has_span = false;
    let fields = (records || has_span).then(delivery);
    if let Some(fields) = fields.filter(|_| records) {
        #[cfg(feature = "tracing")]
        log::verified(fields, bytes, matched_secret, stopwatch.times());
        #[cfg(feature = "metrics")]
        metrics::verified(fields, bytes, matched_secret, stopwatch.times());
    }
    Some(HandlerWatch::start(fields))
}

/// Returns whether [`verified`] records anything. If not, the caller need not parse the envelope.
pub(crate) fn records_verified() -> bool {
    #[cfg(feature = "tracing")]
    let logged = log::logs_verified();
    #[cfg(not(feature = "tracing"))]
    let logged = false;
    cfg!(feature = "metrics") || logged
}

/// The reason why an event became `Unrecognized`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    UnknownType,
    Payload,
}

/// Records an authentic event whose type or payload this version of the crate does not know.
///
/// `misfit` is the reason why the payload does not fit its type, without values of the payload.
pub(crate) fn unrecognized(
    known_type: Option<&'static str>,
    mismatch: Mismatch,
    misfit: Option<&str>,
    is_test: bool,
) {
    #[cfg(feature = "tracing")]
    log::unrecognized(mismatch, misfit, is_test);
    // SoundHash's test button sends any type with any payload, which should not raise an alert.
    #[cfg(feature = "metrics")]
    if !is_test {
        metrics::unrecognized(known_type);
    }
}

/// Records an authentic event with fields that this version of the crate does not know.
pub(crate) fn unknown_fields(known_type: Option<&'static str>) {
    #[cfg(feature = "metrics")]
    metrics::unknown_fields(known_type);
}

/// Records an unknown field that no earlier event of its type had.
pub(crate) fn new_field(event_type: &str, path: &str) {
    #[cfg(feature = "tracing")]
    log::new_field(event_type, path);
}

/// Records a successful response of a handler that SoundHash cannot decode.
pub(crate) fn undecodable_response(path: &str, problem: &'static str) {
    #[cfg(feature = "tracing")]
    log::undecodable_response(path, problem);
}

/// Records an authentic event whose type is not the one that its handler takes.
pub(crate) fn of_another_type(expected: &'static str) {
    #[cfg(feature = "tracing")]
    log::of_another_type(expected);
}

/// Records an authentic delivery whose body is not an event.
pub(crate) fn undecodable(error: &dyn Display) {
    #[cfg(feature = "tracing")]
    log::undecodable(error);
}

/// Records that an extractor ran in a handler that the verification layer does not protect.
pub(crate) fn layer_missing(path: &str) {
    // All handlers share it, because the layer that would hold it is missing.
    static REJECTIONS: RejectionLog = RejectionLog::new();
    REJECTIONS.record(&Rejected {
        reason: "layer_missing",
        message: &"no SoundHashWebhookLayer around this handler",
        advice: "put one around its route, because nothing is verified and every request gets 500",
        severity: Severity::Failure,
        source: None,
        path,
        endpoint: None,
    });
}

/// Records that the idempotency layer responded to a delivery whose event was completed before.
pub(crate) fn duplicate(reason: &'static str) {
    #[cfg(feature = "tracing")]
    log::duplicate(reason);
    #[cfg(feature = "metrics")]
    metrics::not_acted_on(reason);
}

/// Records that the idempotency layer rejected a request.
pub(crate) fn not_acted_on(log: &RejectionLog, rejected: &Rejected<'_>) {
    log.record(rejected);
    #[cfg(feature = "metrics")]
    metrics::not_acted_on(rejected.reason);
}

/// Records that a claim ended before its handler's result was recorded. The event may run twice.
pub(crate) fn lease_lost(key: &str, lease: Duration) {
    #[cfg(feature = "tracing")]
    log::lease_lost(key, lease);
    #[cfg(feature = "metrics")]
    metrics::lease_lost();
}

/// Records that the store failed to record a handler's result.
pub(crate) fn not_recorded(key: &str, completed: bool, error: &BoxError) {
    #[cfg(feature = "tracing")]
    log::not_recorded(key, completed, error.as_ref());
    #[cfg(feature = "metrics")]
    metrics::not_recorded(completed);
}

/// A call of an idempotency store, named like the store's method.
#[derive(Clone, Copy)]
pub(crate) enum StoreStep {
    Claim,
    Complete,
    Release,
}

/// Measures a call of an idempotency store from its first poll, even if the call is dropped.
pub(crate) async fn store_step<T>(
    step: StoreStep,
    call: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    #[cfg(feature = "metrics")]
    let call = metrics::store_step(step, call);
    call.await
}

/// Returns the first 64 characters of a text that a sender may have chosen, without characters that
/// could begin a line or control a terminal.
pub(crate) fn escape(text: &str) -> String {
    escape_up_to(64, text)
}

pub(crate) fn escape_up_to(max: usize, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(max));
    let mut chars = text.chars();
    for char in chars.by_ref().take(max) {
        match char {
            // Quotes and backslashes are left to the subscriber.
            '"' | '\'' | '\\' => escaped.push(char),
            _ => escaped.extend(char.escape_debug()),
        }
    }
    if !chars.as_str().is_empty() {
        escaped.push('…');
    }
    escaped
}

/// Keeps the caller's span for a future that is about to be spawned.
pub(crate) fn in_current_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let future = tracing::Instrument::in_current_span(future);
    future
}
