//! Logs and counts duplicates, and logs failed steps and transactions.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use soundhash_webhook::{Delivery, idempotency::Key};
use tracing::{Level, debug, enabled, error, info, warn};

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

/// The maximum number of lines of one kind per minute. An attacker who has recorded a delivery can
/// repeat it.
const MAX_LINES: u32 = 1_000;

/// The beginning of a minute, and the number of lines since.
struct Limit(Mutex<Option<(Instant, u32)>>);

impl Limit {
    /// Counts a line, and returns whether it may be logged.
    fn allows(&self) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, count) = minute.get_or_insert((now, 0));
        if now - *since >= Duration::from_mins(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        let count = *count;
        drop(minute);
        if count == MAX_LINES {
            warn!(
                "{MAX_LINES} lines like the next one within a minute: the rest is logged at debug level"
            );
        }
        count <= MAX_LINES
    }
}

/// Logs and counts a duplicate, as `IdempotencyLayer` does for completed events.
pub(crate) fn duplicate(delivery: &Delivery) {
    static LIMIT: Limit = Limit(Mutex::new(None));

    if enabled!(Level::INFO) && LIMIT.allows() {
        info!(
            key = Key::from(delivery).as_str().escape_debug().to_string(),
            reason = "duplicate",
            "webhook already recorded: the delivery repeats an event of the log",
        );
    } else {
        debug!("webhook already recorded");
    }
    count(1);
}

/// The text of a database's error can quote an event.
fn harmless(error: &dyn Error) -> String {
    let text = error.to_string();
    text.chars()
        .take(256)
        .flat_map(char::escape_debug)
        .collect()
}

/// Logs a step that failed, and returns its error.
pub(crate) fn failed(
    step: &'static str,
    delivery: Option<&Delivery>,
    mut error: EventLogError,
) -> EventLogError {
    static LIMIT: Limit = Limit(Mutex::new(None));

    let source = error
        .source()
        .map(|it| tracing::field::display(harmless(it)));
    if enabled!(Level::ERROR) && LIMIT.allows() {
        let key = delivery.map(|delivery| Key::from(delivery).as_str().escape_debug().to_string());
        error!(
            step,
            key,
            kind = error.kind().as_str(),
            error = %error,
            source,
            "event log failed: the response is 503, so that SoundHash sends the event again",
        );
    } else {
        debug!(step, error = %error, source, "event log failed");
    }
    error.is_logged = true;
    error
}

/// Logs an error of the handler's own statements.
pub(crate) fn handler_failed(error: &EventLogError) {
    static LIMIT: Limit = Limit(Mutex::new(None));

    let source = error
        .source()
        .map(|it| tracing::field::display(harmless(it)));
    if enabled!(Level::ERROR) && LIMIT.allows() {
        error!(
            kind = error.kind().as_str(),
            error = %error,
            source,
            "handler's transaction failed: the response is 503, so that SoundHash sends the event again",
        );
    } else {
        debug!(error = %error, source, "handler's transaction failed");
    }
}
