//! The names of the metrics, their descriptions, and the measurements that several files share.

use std::{sync::Once, time::Instant};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::StoreStep;

pub(super) const DELIVERIES: &str = "soundhash_webhook_deliveries_total";
pub(super) const UNRECOGNIZED: &str = "soundhash_webhook_unrecognized_total";
pub(super) const UNKNOWN_FIELDS: &str = "soundhash_webhook_unknown_fields_total";
pub(super) const MATCHED_SECRET: &str = "soundhash_webhook_matched_secret_total";
pub(super) const BODY_BYTES: &str = "soundhash_webhook_body_bytes";
pub(super) const BODY_WAIT: &str = "soundhash_webhook_body_wait_seconds";
pub(super) const VERIFICATION: &str = "soundhash_webhook_verification_seconds";
pub(super) const CANCELED: &str = "soundhash_webhook_handlers_canceled_total";
pub(super) const SKIPPED: &str = "soundhash_webhook_handlers_skipped_total";
pub(super) const LEASE_LOST: &str = "soundhash_webhook_lease_lost_total";
pub(super) const NOT_RECORDED: &str = "soundhash_webhook_not_recorded_total";
pub(super) const STORE_ERRORS: &str = "soundhash_webhook_store_errors_total";
const STORE: &str = "soundhash_webhook_store_seconds";

/// The label of rejected requests and of bodies that are not events.
pub(super) const NO_TYPE: &str = "none";
/// The label of all types that this version does not know. If each had its own label, a sender could
/// add a time series with each request.
pub(super) const OTHER_TYPE: &str = "other";

/// Adds one to a counter that has one label.
pub(super) fn count(name: &'static str, label: &'static str, value: &'static str) {
    describe_once();
    counter!(name, label => value).increment(1);
}

pub(super) fn count_delivery(outcome: &'static str, event_type: &'static str) {
    describe_once();
    counter!(DELIVERIES, "outcome" => outcome, "event_type" => event_type).increment(1);
}

/// Measures a call of a store. Dropping this records the duration, so that calls of a store that does
/// not respond are measured, too.
pub(super) struct StoreTimer {
    step: StoreStep,
    since: Instant,
}

impl StoreTimer {
    pub(super) fn start(step: StoreStep) -> Self {
        store_counters_at_zero();
        let since = Instant::now();
        Self { step, since }
    }
}

impl Drop for StoreTimer {
    fn drop(&mut self) {
        histogram!(STORE, "operation" => self.step.as_str()).record(self.since.elapsed());
    }
}

/// Starts the counters of a store's failures at zero. If a counter first appeared with a failure, an
/// alert on its rate would miss that failure.
fn store_counters_at_zero() {
    static AT_ZERO: Once = Once::new();
    AT_ZERO.call_once(|| {
        counter!(LEASE_LOST).increment(0);
        for step in [StoreStep::Claim, StoreStep::Complete, StoreStep::Release] {
            counter!(STORE_ERRORS, "operation" => step.as_str()).increment(0);
        }
        for step in [StoreStep::Complete, StoreStep::Release] {
            counter!(NOT_RECORDED, "operation" => step.as_str()).increment(0);
        }
    });
}

/// Describes the metrics. This happens at the first request, because the layer may be built before a
/// recorder is installed.
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
            "Events with a type or payload that this version of the crate does not know, without test deliveries",
        ),
        (
            UNKNOWN_FIELDS,
            "Events with fields that this version of the crate does not know, without test deliveries",
        ),
        (
            MATCHED_SECRET,
            "Accepted deliveries by the secret that signed them: its label, or its index, 0 being the current one",
        ),
        (
            CANCELED,
            "Handlers that were canceled because the sender hung up, or a timeout of the application expired, before they finished",
        ),
        (
            SKIPPED,
            "Deliveries to which the idempotency layer responded in place of the handler, by reason",
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
