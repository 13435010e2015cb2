//! The lines of the log and the span of a delivery.
//!
//! The span has the id, the type and the endpoint of the delivery, and surrounds every line that is
//! logged while the handler runs.

use std::{error::Error, fmt::Display, time::Duration};

use tracing::{Level, Span, debug, enabled, error, error_span, info, span_enabled, warn};

use super::{
    DeliveryFields, Mismatch, Rejected, Severity, escape, escape_up_to, rejections::Summary,
    stopwatch::Times,
};

/// The target of every line, so that filters do not depend on the modules of the crate.
const TARGET: &str = "soundhash_webhook";

#[inline]
pub(super) fn is_on() -> bool {
    enabled!(target: TARGET, Level::ERROR)
}

pub(super) fn has_span() -> bool {
    span_enabled!(target: TARGET, Level::ERROR)
}

/// Returns the span of a delivery. Its level is `error`, so that every line that passes a filter has
/// the span.
pub(super) fn span(delivery: DeliveryFields<'_>) -> Span {
    error_span!(
        target: TARGET,
        "soundhash_webhook.delivery",
        id = delivery.id.map(escape_display),
        event_type = delivery.event_type.map(escape),
        endpoint = delivery.endpoint.map(escape),
    )
}

pub(super) fn logs(severity: Severity) -> bool {
    match severity {
        Severity::Routine => enabled!(target: TARGET, Level::DEBUG),
        Severity::Warning => enabled!(target: TARGET, Level::WARN),
        Severity::Failure => enabled!(target: TARGET, Level::ERROR),
    }
}

/// Logs a rejection at `debug`, unless [`first_rejection`] logs it.
pub(super) fn rejection(it: &Rejected<'_>) {
    debug!(
        target: TARGET,
        reason = it.reason,
        path = escape(it.path),
        endpoint = it.endpoint.map(escape),
        error = it.source.map(chain),
        "webhook rejected: {}",
        it.message,
    );
}

/// Logs a failure of this service at `error`, and everything else at `warn`.
macro_rules! warn_or_error {
    ($severity:expr, $($line:tt)*) => {
        if $severity == Severity::Failure {
            error!(target: TARGET, $($line)*);
        } else {
            warn!(target: TARGET, $($line)*);
        }
    };
}

pub(super) fn first_rejection(it: &Rejected<'_>) {
    warn_or_error!(
        it.severity,
        reason = it.reason,
        path = escape(it.path),
        endpoint = it.endpoint.map(escape),
        error = it.source.map(chain),
        "webhook rejected: {}: {}",
        it.message,
        it.advice,
    );
}

pub(super) fn summary(it: &Summary) {
    let (count, reason) = (it.count, it.reason);
    let requests = if count == 1 { "request" } else { "requests" };
    let minutes = (it.window.as_secs() + 30) / 60;
    let time = match minutes {
        0 | 1 => "minute".to_owned(),
        _ => format!("{minutes} minutes"),
    };
    // The summary does not belong to the span of the request that ends the window.
    warn_or_error!(
        it.severity,
        parent: None,
        reason,
        count,
        window_s = it.window.as_secs_f64(),
        path = it.path,
        endpoint = it.endpoint,
        "{count} {requests} rejected in the last {time}: {reason} {count}",
    );
}

pub(super) fn logs_verified() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

pub(super) fn verified(
    delivery: DeliveryFields<'_>,
    bytes: usize,
    matched_secret: usize,
    times: Option<Times>,
) {
    debug!(
        target: TARGET,
        id = delivery.id.map(escape_display),
        event_type = delivery.event_type.map(escape),
        endpoint = delivery.endpoint.map(escape),
        bytes,
        matched_secret,
        waited_ms = times.map(|times| milliseconds(times.waited)),
        hashed_ms = times.map(|times| milliseconds(times.hashed)),
        "webhook verified",
    );
}

pub(super) fn unrecognized(mismatch: Mismatch, misfit: Option<&str>, is_test: bool) {
    let mismatch = match mismatch {
        Mismatch::UnknownType => "its type is unknown",
        Mismatch::Payload => "its payload does not fit its type",
    };
    if is_test {
        info!(target: TARGET, "webhook test received: {mismatch}, as usual for a test");
    } else {
        warn!(
            target: TARGET,
            misfit = misfit.map(|it| escape_up_to(MAX_PATH, it)),
            "webhook event not recognized: {mismatch}. Update soundhash-webhook, or handle \
             EventData::Unrecognized",
        );
    }
}

pub(super) fn new_field(event_type: &str, path: &str) {
    info!(
        target: TARGET,
        event_type = escape(event_type),
        field = escape_up_to(MAX_PATH, path),
        "webhook field unknown: SoundHash sends a field that this version does not parse. Nothing is \
         lost: Delivery::body has the field. Update soundhash-webhook if you need it",
    );
}

pub(super) fn undecodable_response(path: &str, problem: &'static str) {
    warn!(
        target: TARGET,
        path = escape(path),
        "webhook response cannot be decoded: {problem}. SoundHash counts it as a failure and sends \
         the event again. Respond with an empty body or with UTF-8",
    );
}

pub(super) fn of_another_type(expected: &'static str) {
    warn!(
        target: TARGET,
        expected,
        "webhook event has another type than its handler takes: register the endpoint for this \
         type only, or use an EventRouter",
    );
}

pub(super) fn undecodable(error: &dyn Display) {
    let error = escape_up_to(MAX_ERROR, &error.to_string());
    warn!(
        target: TARGET,
        error,
        "webhook body is not an event: store Delivery::body to examine it",
    );
}

pub(super) fn duplicate(reason: &'static str) {
    info!(
        target: TARGET,
        reason,
        "webhook already handled: the event was completed before, so the handler was not called",
    );
}

pub(super) fn canceled(elapsed: Duration) {
    warn!(
        target: TARGET,
        elapsed_ms = milliseconds(elapsed),
        "webhook handler canceled: the request was dropped before the handler finished. Either the \
         sender or a proxy hung up (SoundHash waits 30 s), or a timeout of this application \
         expired, such as a TimeoutLayer outside of the verification. Respond sooner, or let the \
         handler run on with IdempotencyLayer::detach",
    );
}

pub(super) fn lease_lost(key: &str, lease: Duration) {
    warn!(
        target: TARGET,
        key = escape(key),
        lease_ms = milliseconds(lease),
        "webhook handler outlived its lease, or the store lost the claim: \
         the event may be handled twice. Use a longer lease",
    );
}

pub(super) fn not_recorded(key: &str, completed: bool, error: &(dyn Error + 'static)) {
    error!(
        target: TARGET,
        key = escape(key),
        completed,
        error = chain(error),
        "idempotency store failed to record a handler's result: \
         the layer retries until the lease ends",
    );
}

/// The maximum length of a field's path, which names several fields.
const MAX_PATH: usize = 128;

/// The maximum length of an error, which is longer than an id because an error must be readable to its
/// end.
const MAX_ERROR: usize = 256;

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn escape_display(text: &dyn Display) -> String {
    escape(&text.to_string())
}

/// Returns an error with its sources. These may quote a request, so they are escaped.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // Stops early, because the sources of an error may form a cycle.
    while let Some(error) = source.filter(|_| text.len() < MAX_ERROR) {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    escape_up_to(MAX_ERROR, &text)
}
