//! Logs and counts duplicates, and logs failed steps.

use std::error::Error;

use soundhash_webhook::{Delivery, idempotency::Key};
use tracing::{error, info};

use crate::error::EventLogError;

/// Adds `duplicates` to the counter. A zero creates the counter, so that an alert on its increase
/// does not miss the first duplicate.
pub(crate) fn count(duplicates: u64) {
    #[cfg(feature = "metrics")]
    metrics::counter!("soundhash_webhook_handlers_skipped_total", "reason" => "duplicate")
        .increment(duplicates);
    #[cfg(not(feature = "metrics"))]
    let _ = duplicates;
}

/// Logs and counts a duplicate, as `IdempotencyLayer` does for completed events.
pub(crate) fn duplicate(delivery: &Delivery) {
    info!(
        key = %Key::from(delivery).as_str().escape_debug(),
        reason = "duplicate",
        "webhook already recorded: the delivery repeats an event of the log",
    );
    count(1);
}

/// Logs a step that failed, and returns its error.
pub(crate) fn failed(
    step: &'static str,
    delivery: Option<&Delivery>,
    error: EventLogError,
) -> EventLogError {
    let key = delivery.map(|delivery| Key::from(delivery).as_str().escape_debug().to_string());
    error!(
        step,
        key,
        kind = error.kind().as_str(),
        error = %error,
        source = error.source().map(tracing::field::display),
        "event log failed: the response is 503, so that SoundHash sends the event again",
    );
    error
}
