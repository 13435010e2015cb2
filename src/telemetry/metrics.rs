use std::{future::Future, sync::Once, time::Instant};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{StoreStep, stopwatch::Times};
use crate::{delivery::Delivery, event::EventKind, idempotency::Answer, rejection::Rejection};

const DELIVERIES: &str = "soundhash_webhook_deliveries_total";
const UNRECOGNIZED: &str = "soundhash_webhook_unrecognized_total";
const MATCHED_SECRET: &str = "soundhash_webhook_matched_secret_total";
const BODY_BYTES: &str = "soundhash_webhook_body_bytes";
const BODY_WAIT: &str = "soundhash_webhook_body_wait_seconds";
const VERIFICATION: &str = "soundhash_webhook_verification_seconds";
const NOT_ACTED_ON: &str = "soundhash_webhook_not_acted_on_total";
const LEASE_LOST: &str = "soundhash_webhook_lease_lost_total";
const NOT_RECORDED: &str = "soundhash_webhook_not_recorded_total";
const STORE: &str = "soundhash_webhook_store_seconds";
const STORE_ERRORS: &str = "soundhash_webhook_store_errors_total";

/// The type of a refused request, of which nothing is known, and of a body that is no event.
const NO_TYPE: &str = "none";
/// Every type that this version does not know. One label, or a sender could make a new
/// time series with each request.
const OTHER_TYPE: &str = "other";

pub(super) fn refused(rejection: &Rejection) {
    count_delivery(rejection.kind().as_str(), NO_TYPE);
}

pub(super) fn verified(delivery: &Delivery, event_type: Option<&str>, times: Option<Times>) {
    count_delivery("accepted", event_type.map_or(NO_TYPE, label));
    let index = ["0", "1", "2", "3"].get(delivery.matched_secret());
    counter!(MATCHED_SECRET, "index" => *index.unwrap_or(&"other")).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    histogram!(BODY_BYTES).record(delivery.body().len() as f64);
    if let Some(times) = times {
        histogram!(BODY_WAIT).record(times.waited);
        histogram!(VERIFICATION).record(times.hashed);
    }
}

pub(super) fn unrecognized(event_type: &str) {
    counter!(UNRECOGNIZED, "event_type" => label(event_type)).increment(1);
}

pub(super) fn not_acted_on(answer: &Answer) {
    described();
    counter!(NOT_ACTED_ON, "reason" => answer.kind().as_str()).increment(1);
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

/// A step at work. Recorded when it is dropped, so that a store which does not answer is seen by
/// what was given up.
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

fn label(event_type: &str) -> &'static str {
    event_type.parse().map_or(OTHER_TYPE, EventKind::as_str)
}

fn count_delivery(outcome: &'static str, event_type: &'static str) {
    described();
    counter!(DELIVERIES, "outcome" => outcome, "event_type" => event_type).increment(1);
}

/// Lets the counters that should never rise begin at zero: a rate does not see that a counter
/// appears, so the first failure would cause no alarm.
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

/// With the first request, and not with the layer, which may be made before a recorder is
/// installed.
fn described() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(describe);
}

fn describe() {
    describe_counter!(
        DELIVERIES,
        "Requests that the layer decided on, by outcome (accepted, or why not) and type"
    );
    describe_counter!(
        UNRECOGNIZED,
        "Events whose type or payload this version of the crate does not know"
    );
    describe_counter!(
        MATCHED_SECRET,
        "Accepted deliveries by the secret that signed them, 0 being the current one"
    );
    describe_histogram!(BODY_BYTES, Unit::Bytes, "Size of accepted bodies");
    describe_histogram!(
        BODY_WAIT,
        Unit::Seconds,
        "Time that accepted bodies were waited for"
    );
    describe_histogram!(
        VERIFICATION,
        Unit::Seconds,
        "Time that accepted bodies were hashed and compared"
    );
    describe_counter!(
        NOT_ACTED_ON,
        "Deliveries that the idempotency layer answered in place of the handler, by reason"
    );
    describe_counter!(
        LEASE_LOST,
        "Handlers that outlived their lease, so that an event may be acted on twice"
    );
    describe_counter!(
        NOT_RECORDED,
        "Handlers whose end the idempotency store did not hear of at once"
    );
    describe_histogram!(
        STORE,
        Unit::Seconds,
        "Time that steps of the idempotency store took, failed ones and abandoned ones included"
    );
    describe_counter!(STORE_ERRORS, "Steps of the idempotency store that failed");
}
