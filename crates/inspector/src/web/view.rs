//! Converts records to JSON for the page.

use std::{
    fmt::{self, Write},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use soundhash_webhook::{SchemaChange, SchemaChangeKind, idempotency::Key};

use crate::{
    Inspector, Record, headers,
    record::Message,
    replay::{NO_SECRET, UNVERIFIED},
};

/// The maximum length of a formatted event. Indentation can make even a small hostile payload very
/// long.
const MAX_TYPED: usize = 256 * 1024;

/// Returns the Unix time in milliseconds.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Describes a difference between SoundHash's events and the crate's types.
pub(super) fn change(change: &SchemaChange) -> Value {
    let kind = match change.kind {
        SchemaChangeKind::UnknownField => "new field",
        SchemaChangeKind::Misfit => "does not fit",
        _ => "new type",
    };
    json!({
        "kind": kind,
        "type": change.event_type,
        "detail": change.detail,
        "first_seen": milliseconds(change.first_seen),
        "count": change.count,
    })
}

/// Returns the JSON for one row of the list.
pub(super) fn summary(record: &Record) -> Value {
    json!({
        "number": record.number,
        "time": milliseconds(record.time),
        "id": record.event_id(),
        "key": record.key.as_ref().map(Key::as_str),
        "type": record.event_type(),
        "sender": record.sender().map(|sender| sender.to_string()),
        "verdict": record.verdict().as_str(),
        "reason": record.reason(),
        "status": record.status.map(|status| status.as_u16()),
        "duration": record.duration.as_secs_f64() * 1e3,
        "path": record.path(),
        "verified": record.is_verified(),
        "replay_of": record.replay_of,
        // Whether the record is kept with the deliveries rather than with the rejected requests.
        "delivery": record.is_delivery(),
    })
}

/// Returns one record with all of its details. `related` contains the other requests with the same
/// event.
pub(super) fn detail(inspector: &Inspector, record: &Record, related: &[Arc<Record>]) -> Value {
    let config = inspector.settings();
    let no_secret = config.secrets.is_empty().then_some(NO_SECRET);
    let unverified = (!record.is_verified()).then_some(UNVERIFIED);
    let no_body = record.whole_body().err();
    let no_head = record.to_request().err();
    let message = |it: &Message| part(it, config.show_sensitive_headers);
    let mut detail = summary(record);
    for (member, value) in [
        ("method", json!(record.method())),
        ("peer", json!(record.peer)),
        ("endpoint", json!(record.endpoint())),
        ("matched_secret", json!(record.matched_secret)),
        ("request", message(&record.request)),
        ("response", json!(record.response.as_ref().map(message))),
        ("typed", json!(record.event().map(|event| typed(&event)))),
        ("related", related.iter().map(|it| summary(it)).collect()),
        // Whether the record was rejected because of its signature.
        ("explainable", json!(record.judgment.explainable)),
        // For each action, the reason why it is not possible, or `null` if it is possible.
        ("no_explain", json!(no_secret.or(no_body))),
        ("no_replay", json!(no_head.or(no_body))),
        (
            "no_send_as_new",
            json!(no_secret.or(unverified).or(no_head).or(no_body)),
        ),
        ("no_save", json!(no_head.or(no_body))),
    ] {
        detail[member] = value;
    }
    detail
}

fn part(Message { head, body }: &Message, sensitive: bool) -> Value {
    let headers = head.headers().map(|(name, value)| {
        let (value, hidden) = headers::shown(name, value, sensitive);
        json!({"name": name, "value": value, "hidden": hidden})
    });
    json!({
        "headers": headers.collect::<Value>(),
        "headers_cut": !head.whole,
        "body": String::from_utf8_lossy(&body.bytes),
        "body_bytes": body.total,
        "body_kept": body.bytes.len(),
        "body_whole": body.is_whole(),
    })
}

/// Formats the event as the handler gets it.
fn typed(event: &impl fmt::Debug) -> String {
    let mut text = Bounded(String::new());
    if write!(text, "{event:#?}").is_err() {
        text.0.push_str("\n… (the rest is not shown)");
    }
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > MAX_TYPED {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}
