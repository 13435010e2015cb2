//! Records metrics. If the feature `metrics` is off, `no_recorder` replaces this file.

use std::{borrow::Cow, sync::Once, time::Instant};

use metrics::{SharedString, Unit, counter, describe_counter, describe_histogram, histogram};

use super::metrics::{
    BODY_BYTES, BODY_WAIT, CANCELED, DELIVERIES, LEASE_LOST, MATCHED_SECRET, NOT_RECORDED, SKIPPED,
    STORE, STORE_ERRORS, UNKNOWN_FIELDS, UNRECOGNIZED, VERIFICATION,
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

/// Measures a call of a store. The duration is recorded when the timer is dropped, so that a call
/// that is canceled because the store does not respond is measured, too.
pub(super) struct StoreTimer {
    name: &'static str,
    step: &'static str,
    since: Instant,
}

impl StoreTimer {
    pub(super) fn start(name: &'static str, step: &'static str) -> Self {
        store_counters_at_zero();
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

/// Creates the counters of a store's failures with the value zero. If a counter first appeared with
/// the first failure, an alert on its rate would miss that failure.
fn store_counters_at_zero() {
    static AT_ZERO: Once = Once::new();
    AT_ZERO.call_once(|| {
        counter!(LEASE_LOST).increment(0);
        for step in ["claim", "complete", "release"] {
            counter!(STORE_ERRORS, "operation" => step).increment(0);
        }
        for step in ["complete", "release"] {
            counter!(NOT_RECORDED, "operation" => step).increment(0);
        }
    });
}

/// Describes the metrics on the first request, because the layer may be built before a recorder is
/// installed.
fn describe_once() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe();
        counter!(CANCELED).increment(0);
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
