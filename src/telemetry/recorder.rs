//! Records metrics. If the `metrics` feature is off, `no_recorder` replaces this file.

use std::{borrow::Cow, sync::Once, time::Instant};

use metrics::{SharedString, Unit, counter, describe_counter, describe_histogram, histogram};

use super::metrics::{
    ACCEPTED, BODY_BYTES, BODY_WAIT, CANCELED, DELIVERIES, FAILED, LEASE_LOST, MATCHED_SECRET,
    NO_TYPE, NOT_RECORDED, OTHER_TYPE, SKIPPED, STORE, STORE_ERRORS, UNKNOWN_FIELDS, UNRECOGNIZED,
    VERIFICATION,
};

pub(super) fn delivery(name: &'static str, outcome: &'static str, event_type: &'static str) {
    describe_once();
    counter!(name, "outcome" => outcome, "event_type" => event_type).increment(1);
}

pub(super) fn count(name: &'static str, label: &'static str, value: impl Into<Cow<'static, str>>) {
    describe_once();
    counter!(name, label => SharedString::from(value.into())).increment(1);
}

pub(super) fn increment(name: &'static str) {
    counter!(name).increment(1);
}

pub(super) fn record(name: &'static str, value: f64) {
    histogram!(name).record(value);
}

/// Measures a call to a store. The duration is recorded when the timer is dropped, so that a call
/// that is canceled because the store does not respond is measured as well.
pub(super) struct StoreTimer {
    name: &'static str,
    step: &'static str,
    since: Instant,
}

impl StoreTimer {
    pub(super) fn start(name: &'static str, step: &'static str) -> Self {
        // This is not done when the layer is built, because the recorder may be installed later.
        static STARTED: Once = Once::new();
        STARTED.call_once(start_store);
        Self {
            name,
            step,
            since: Instant::now(),
        }
    }
}

impl Drop for StoreTimer {
    fn drop(&mut self) {
        histogram!(self.name, "operation" => self.step).record(self.since.elapsed());
    }
}

/// Initializes the verification layer's counters to zero, and describes all metrics. If a counter
/// did not exist before its first event, an alert on its increase would miss that event.
pub(crate) fn start_verification(
    rejections: &[&'static str],
    types: impl Iterator<Item = &'static str>,
) {
    describe();
    start_handlers();
    for outcome in rejections.iter().chain(&[ACCEPTED]) {
        counter!(DELIVERIES, "outcome" => *outcome, "event_type" => NO_TYPE).increment(0);
    }
    for event_type in types.chain([OTHER_TYPE]) {
        counter!(DELIVERIES, "outcome" => ACCEPTED, "event_type" => event_type).increment(0);
        for name in [UNRECOGNIZED, UNKNOWN_FIELDS] {
            counter!(name, "event_type" => event_type).increment(0);
        }
    }
}

/// Initializes the idempotency layer's counters to zero.
pub(crate) fn start_idempotency(skipped: &[&'static str]) {
    for reason in skipped {
        counter!(SKIPPED, "reason" => *reason).increment(0);
    }
    start_store();
}

fn start_handlers() {
    for name in [CANCELED, FAILED] {
        counter!(name).increment(0);
    }
}

fn start_store() {
    counter!(LEASE_LOST).increment(0);
    for step in ["claim", "complete", "release"] {
        counter!(STORE_ERRORS, "operation" => step).increment(0);
    }
    for step in ["complete", "release"] {
        counter!(NOT_RECORDED, "operation" => step).increment(0);
    }
}

/// Describes the metrics on the first request, because the layer may have been built before a recorder
/// was installed.
fn describe_once() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe();
        start_handlers();
    });
}

fn describe() {
    for (name, description) in [
        (
            DELIVERIES,
            "Requests that the layer accepted or rejected, by outcome (accepted, or the reason) and event type",
        ),
        (
            UNRECOGNIZED,
            "Events with a type or payload that this version of the crate does not know, except for test deliveries",
        ),
        (
            UNKNOWN_FIELDS,
            "Events with fields that this version of the crate does not know, except for test deliveries",
        ),
        (
            MATCHED_SECRET,
            "Accepted deliveries by the secret that signed them: its label, or its index, which is 0 for the current secret",
        ),
        (
            CANCELED,
            "Handlers that were canceled because the sender hung up, or a timeout of the application expired, before they finished",
        ),
        (
            FAILED,
            "Handlers that panicked or responded with anything but 2xx or 404, unless the reason is an event that they could not parse",
        ),
        (
            SKIPPED,
            "Deliveries to which the idempotency layer responded without calling the handler, by reason",
        ),
        (
            LEASE_LOST,
            "Handlers that outlived their lease, so that an event may be handled twice",
        ),
        (
            NOT_RECORDED,
            "Handlers whose result the idempotency store failed to record at the first attempt",
        ),
        (STORE_ERRORS, "Calls of the idempotency store that failed"),
    ] {
        describe_counter!(name, description);
    }
    describe_histogram!(BODY_BYTES, Unit::Bytes, "Size of accepted bodies");
    for (name, description) in [
        (BODY_WAIT, "Time spent waiting for accepted bodies"),
        (
            VERIFICATION,
            "Time spent hashing accepted bodies and comparing signatures",
        ),
        (
            STORE,
            "Duration of calls of the idempotency store, including failed and abandoned ones",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, description);
    }
}
