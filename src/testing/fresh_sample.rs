//! Sample events with a current time and a new id.

use std::time::SystemTime;

use serde_json::Value;

use super::{Sender, sample};
use crate::{
    event::{EventKind, Timestamp},
    idempotency::ClaimToken,
};

/// Returns a [`sample`] with the current time and a new id.
///
/// An [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) with a
/// [`max_age`](crate::idempotency::IdempotencyLayer::max_age) accepts this event, and rejects a
/// `sample` as too old.
///
/// ```
/// use soundhash_webhook::EventKind;
/// use soundhash_webhook::testing::{Sender, fresh_sample};
///
/// let one = fresh_sample(EventKind::MatchFound, Sender::Portal);
/// let other = fresh_sample(EventKind::MatchFound, Sender::Portal);
/// assert_ne!(one["delivery_id"], other["delivery_id"]);
/// assert_eq!(one["data"], other["data"]);
/// ```
#[must_use]
pub fn fresh_sample(kind: EventKind, sender: Sender) -> Value {
    let mut event = sample(kind, sender);
    let (id, time) = match sender {
        Sender::Portal => ("delivery_id", "timestamp"),
        Sender::Dispatcher => ("id", "created_at"),
    };
    event[id] = ClaimToken::unique().to_string().into();
    if let Ok(now) = Timestamp::try_from(SystemTime::now()) {
        event[time] = now.to_string().into();
    }
    event
}
