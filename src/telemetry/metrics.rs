use std::sync::Once;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::stopwatch::Times;
use crate::{
    delivery::Delivery,
    event::{EventKind, Unrecognized},
    rejection::Rejection,
};

const DELIVERIES: &str = "soundhash_webhook_deliveries_total";
const UNRECOGNIZED: &str = "soundhash_webhook_unrecognized_total";
const MATCHED_SECRET: &str = "soundhash_webhook_matched_secret_total";
const BODY_BYTES: &str = "soundhash_webhook_body_bytes";
const BODY_WAIT: &str = "soundhash_webhook_body_wait_seconds";
const VERIFICATION: &str = "soundhash_webhook_verification_seconds";

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

pub(super) fn unrecognized(event: &Unrecognized) {
    let event_type = label(&event.event_type);
    counter!(UNRECOGNIZED, "event_type" => event_type).increment(1);
}

fn label(event_type: &str) -> &'static str {
    event_type.parse().map_or(OTHER_TYPE, EventKind::as_str)
}

fn count_delivery(outcome: &'static str, event_type: &'static str) {
    static DESCRIBED: Once = Once::new();
    // With the first request, and not with the layer, which may be made before a recorder is
    // installed.
    DESCRIBED.call_once(describe);
    counter!(DELIVERIES, "outcome" => outcome, "event_type" => event_type).increment(1);
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
}
