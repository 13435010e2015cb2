//! Bodies and events that the crate does not recognize.

use super::{
    log::{log, log_limited},
    metrics, recorder,
    text::{escape, escape_error, escape_up_to},
};
use crate::event::EventError;

/// The maximum length of a field path, which can contain several names.
const MAX_PATH: usize = 128;

/// Records an authentic event whose type is unknown to this version of the crate or, if there is a
/// `known_type`, whose payload does not fit that type.
///
/// `misfit` says why the payload does not fit its type, without quoting payload values.
pub(crate) fn unrecognized(known_type: Option<&'static str>, misfit: Option<&str>, is_test: bool) {
    let mismatch = match known_type {
        None => "its type is unknown",
        Some(_) => "its payload does not fit its type",
    };
    // SoundHash's test button can send anything, so a mismatch in a test should not raise an alert.
    if is_test {
        log_limited!(
            info,
            "webhook test received: {mismatch}, as usual for a test"
        );
        return;
    }
    log_limited!(
        warn,
        misfit = misfit.map(|it| escape_up_to(MAX_PATH, it)),
        "webhook event not recognized: {mismatch}. Update soundhash-webhook, or handle \
         EventData::Unrecognized",
    );
    recorder::count(
        metrics::UNRECOGNIZED,
        "event_type",
        known_type.unwrap_or(metrics::OTHER_TYPE),
    );
}

/// Records an authentic event with fields that are unknown to this version of the crate.
pub(crate) fn unknown_fields(known_type: Option<&'static str>) {
    recorder::count(
        metrics::UNKNOWN_FIELDS,
        "event_type",
        known_type.unwrap_or(metrics::OTHER_TYPE),
    );
}

/// Logs an unknown field when it is first seen in events of this type.
pub(crate) fn new_field(event_type: &str, path: &str) {
    log!(
        info,
        event_type = escape(event_type),
        field = escape_up_to(MAX_PATH, path),
        "webhook field unknown: SoundHash sends a field that this version does not parse. Nothing is \
         lost: Delivery::body has the field. Update soundhash-webhook if you need it",
    );
}

/// Logs an authentic event whose type differs from the one that the handler takes.
pub(crate) fn of_another_type(expected: &'static str) {
    log_limited!(
        warn,
        expected = expected,
        "webhook event has a different type than its handler takes: register the endpoint only for \
         the type of the handler, or use an EventRouter",
    );
}

/// Logs an authentic delivery whose body is not an event.
pub(crate) fn undecodable(error: &EventError) {
    log_limited!(
        warn,
        error = escape_error(error),
        "webhook body is not an event: store Delivery::body to examine it",
    );
}
