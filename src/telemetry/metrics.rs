//! The counters and histograms.

use std::{future::Future, sync::Once, time::Instant};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{DeliveryFields, StoreStep, stopwatch::Times};

const DELIVERIES: &str = "soundhash_webhook_deliveries_total";
const UNRECOGNIZED: &str = "soundhash_webhook_unrecognized_total";
const UNKNOWN_FIELDS: &str = "soundhash_webhook_unknown_fields_total";
const MATCHED_SECRET: &str = "soundhash_webhook_matched_secret_total";
const BODY_BYTES: &str = "soundhash_webhook_body_bytes";
const BODY_WAIT: &str = "soundhash_webhook_body_wait_seconds";
const VERIFICATION: &str = "soundhash_webhook_verification_seconds";
const CANCELED: &str = "soundhash_webhook_handlers_canceled_total";
const NOT_ACTED_ON: &str = "soundhash_webhook_not_acted_on_total";
const LEASE_LOST: &str = "soundhash_webhook_lease_lost_total";
const NOT_RECORDED: &str = "soundhash_webhook_not_recorded_total";
const STORE: &str = "soundhash_webhook_store_seconds";
const STORE_ERRORS: &str = "soundhash_webhook_store_errors_total";

/// The label of rejected requests and of bodies that are not events.
const NO_TYPE: &str = "none";
/// The label of all types that this version does not know. If each had its own label, a sender could
/// add a time series with each request.
const OTHER_TYPE: &str = "other";

pub(super) fn rejected(reason: &'static str) {
    count_delivery(reason, NO_TYPE);
}

pub(super) fn verified(
    delivery: DeliveryFields<'_>,
    bytes: usize,
    matched_secret: usize,
    times: Option<Times>,
) {
    let event_type = match delivery.event_type {
        Some(_) => delivery.known_type.unwrap_or(OTHER_TYPE),
        None => NO_TYPE,
    };
    count_delivery("accepted", event_type);
    let index = ["0", "1", "2", "3"].get(matched_secret);
    counter!(MATCHED_SECRET, "index" => *index.unwrap_or(&"other")).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    histogram!(BODY_BYTES).record(bytes as f64);
    if let Some(times) = times {
        histogram!(BODY_WAIT).record(times.waited);
        histogram!(VERIFICATION).record(times.hashed);
    }
}

pub(super) fn unrecognized(known_type: Option<&'static str>) {
    counter!(UNRECOGNIZED, "event_type" => known_type.unwrap_or(OTHER_TYPE)).increment(1);
}

pub(super) fn unknown_fields(known_type: Option<&'static str>) {
    counter!(UNKNOWN_FIELDS, "event_type" => known_type.unwrap_or(OTHER_TYPE)).increment(1);
}

pub(super) fn canceled() {
    counter!(CANCELED).increment(1);
}

pub(super) fn not_acted_on(reason: &'static str) {
    described();
    counter!(NOT_ACTED_ON, "reason" => reason).increment(1);
}

pub(super) fn lease_lost() {
    counter!(LEASE_LOST).increment(1);
}

pub(super) fn not_recorded(completed: bool) {
    let step = match completed {
        true => StoreStep::Complete,
        false => StoreStep::Release,
    };
    counter!(NOT_RECORDED, "operation" => operation(step)).increment(1);
}

pub(super) async fn store_step<T, E>(
    step: StoreStep,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    at_zero();
    let operation = operation(step);
    let _running = Running {
        operation,
        since: Instant::now(),
    };
    let result = call.await;
    if result.is_err() {
        counter!(STORE_ERRORS, "operation" => operation).increment(1);
    }
    result
}

/// A call in progress. Dropping it records its duration, so that calls of a store that does not
/// respond are measured, too.
struct Running {
    operation: &'static str,
    since: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        histogram!(STORE, "operation" => self.operation).record(self.since.elapsed());
    }
}

const fn operation(step: StoreStep) -> &'static str {
    match step {
        StoreStep::Claim => "claim",
        StoreStep::Complete => "complete",
        StoreStep::Release => "release",
    }
}

fn count_delivery(outcome: &'static str, event_type: &'static str) {
    described();
    counter!(DELIVERIES, "outcome" => outcome, "event_type" => event_type).increment(1);
}

/// Starts the counters of a store's failures at zero. If a counter first appeared with a failure, an
/// alert on its rate would miss that failure.
fn at_zero() {
    static AT_ZERO: Once = Once::new();
    AT_ZERO.call_once(|| {
        counter!(LEASE_LOST).increment(0);
        for step in [StoreStep::Claim, StoreStep::Complete, StoreStep::Release] {
            counter!(STORE_ERRORS, "operation" => operation(step)).increment(0);
        }
        for step in [StoreStep::Complete, StoreStep::Release] {
            counter!(NOT_RECORDED, "operation" => operation(step)).increment(0);
        }
    });
}

/// Describes the metrics. This happens at the first request, because the layer may be built before a
/// recorder is installed.
fn described() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe();
        counter!(CANCELED).increment(0);
    });
}

fn describe() {
    describe_counter!(
        DELIVERIES,
        "Requests that the layer accepted or rejected, by outcome (accepted, or the reason) and event type"
    );
    describe_counter!(
        UNRECOGNIZED,
        "Events with a type or payload that this version of the crate does not know, without test deliveries"
    );
    describe_counter!(
        UNKNOWN_FIELDS,
        "Events with fields that this version of the crate does not know, without test deliveries"
    );
    describe_counter!(
        MATCHED_SECRET,
        "Accepted deliveries by the secret that signed them, 0 being the current one"
    );
    describe_histogram!(BODY_BYTES, Unit::Bytes, "Size of accepted bodies");
    describe_histogram!(
        BODY_WAIT,
        Unit::Seconds,
        "Time spent waiting for accepted bodies"
    );
    describe_histogram!(
        VERIFICATION,
        Unit::Seconds,
        "Time spent hashing accepted bodies and comparing signatures"
    );
    describe_counter!(
        CANCELED,
        "Handlers that were canceled because the sender hung up, or a timeout of the application expired, before they finished"
    );
    describe_counter!(
        NOT_ACTED_ON,
        "Deliveries to which the idempotency layer responded in place of the handler, by reason"
    );
    describe_counter!(
        LEASE_LOST,
        "Handlers that outlived their lease, so that an event may be handled twice"
    );
    describe_counter!(
        NOT_RECORDED,
        "Handlers whose result the idempotency store failed to record at the first attempt"
    );
    describe_histogram!(
        STORE,
        Unit::Seconds,
        "Duration of calls of the idempotency store, including failed and abandoned ones"
    );
    describe_counter!(STORE_ERRORS, "Calls of the idempotency store that failed");
}
