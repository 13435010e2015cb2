//! Sample events with the current time and a new id.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::sample;
use crate::{
    event::{EventKind, Sender, Timestamp},
    idempotency::ClaimToken,
};

/// Returns a [`sample()`] event with the current time and a new id.
///
/// Unlike a `sample`, the event passes an
/// [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) with a
/// [`max_age`](crate::idempotency::IdempotencyLayer::max_age).
///
/// ```
/// use soundhash_webhook::EventKind;
/// use soundhash_webhook::{Sender, testing::fresh_sample};
///
/// let one = fresh_sample(EventKind::MatchFound, Sender::Portal);
/// let other = fresh_sample(EventKind::MatchFound, Sender::Portal);
/// assert_ne!(one["delivery_id"], other["delivery_id"]);
/// assert_eq!(one["data"], other["data"]);
/// ```
#[must_use]
pub fn fresh_sample(kind: EventKind, sender: Sender) -> Value {
    let mut event = sample(kind, sender);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    match sender {
        Sender::Portal => {
            event["delivery_id"] = format!("del_{}", unique_millisecond(now)).into();
            event["timestamp"] = (python_time(now) + "+00:00").into();
        }
        Sender::Dispatcher => {
            event["id"] = unique_id().into();
            event["created_at"] = (python_time(now) + "+00:00Z").into();
        }
    }
    event
}

/// Returns an id like the dispatcher's: 22 base64url characters.
fn unique_id() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let random = u128::from(ClaimToken::unique());
    let digits = (0..22).map(|at| DIGITS[(random >> (6 * at)) as usize % DIGITS.len()]);
    digits.map(char::from).collect()
}

/// Returns `now` in milliseconds, or a later millisecond if an earlier sample has already used this
/// one.
fn unique_millisecond(now: Duration) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(now.as_millis()).unwrap_or_default();
    let next = |last: u64| now.max(last + 1);
    LAST.fetch_update(Relaxed, Relaxed, |last| Some(next(last)))
        .map_or(now, next)
}

/// Formats a time as Python's `isoformat` does, but without the UTC offset.
fn python_time(since_epoch: Duration) -> String {
    let seconds = UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
    let text = Timestamp::try_from(seconds).map_or_else(|_| String::new(), |it| it.to_string());
    let text = text.trim_end_matches('Z');
    match since_epoch.subsec_micros() {
        0 => text.to_owned(),
        micros => format!("{text}.{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_after_the_point_or_none() {
        let text = |micros| python_time(Duration::from_micros(micros));
        assert_eq!(text(1_795_424_132_000_000), "2026-11-23T08:55:32");
        assert_eq!(text(1_795_424_132_000_120), "2026-11-23T08:55:32.000120");
    }
}
