//! A process-wide record of the event types, fields and payloads that SoundHash sends but this
//! crate does not recognize.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::{
    event::{Event, EventData, EventKind},
    telemetry,
};

/// The maximum number of differences of each kind that are recorded. Without a limit, a sender that
/// makes up names could exhaust the memory.
const MAX_CHANGES: usize = 128;

/// Shared by the whole process, because a difference concerns the crate version, not a particular
/// layer.
static CHANGES: Mutex<Vec<SchemaChange>> = Mutex::new(Vec::new());

/// A difference between what SoundHash sends and the types of this version of the crate.
///
/// The crate records a difference when an extractor or [`Delivery::event`](crate::Delivery::event)
/// first parses a delivery as an [`Event`]. Test deliveries are ignored, because their payloads
/// rarely fit. The guide [Schema changes](crate::guide::schema_changes) explains what to do about a
/// difference.
///
/// ```
/// use soundhash_webhook::SchemaChange;
///
/// for change in SchemaChange::seen() {
///     println!("{change}: {} deliveries since {:?}", change.count, change.first_seen);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaChange {
    /// The kind of the difference.
    pub kind: SchemaChangeKind,
    /// The event type, escaped and truncated to 64 characters.
    pub event_type: String,
    /// The path of an unknown field, or the reason why a payload does not fit its type. It is empty
    /// for an unknown type.
    ///
    /// The text never quotes payload values. Field names are escaped and truncated.
    pub detail: String,
    /// The time of the first delivery with this difference.
    pub first_seen: SystemTime,
    /// The number of deliveries with this difference, including retries.
    pub count: u64,
}

/// The kinds of [`SchemaChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaChangeKind {
    /// The payload or the envelope has a field that is not parsed.
    UnknownField,
    /// The payload does not fit its type, so the event is
    /// [`Unrecognized`](EventData::Unrecognized).
    Misfit,
    /// The type is unknown, so the event is [`Unrecognized`](EventData::Unrecognized).
    UnknownType,
}

impl SchemaChange {
    /// Returns the differences seen since the process started, oldest first.
    ///
    /// At most 128 of each kind are kept.
    #[must_use]
    pub fn seen() -> Vec<SchemaChange> {
        let changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        changes.clone()
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            event_type, detail, ..
        } = self;
        match self.kind {
            SchemaChangeKind::UnknownField => write!(f, "unknown field {detail} in {event_type}"),
            SchemaChangeKind::Misfit => write!(f, "{event_type} does not fit: {detail}"),
            SchemaChangeKind::UnknownType => write!(f, "unknown type {event_type}"),
        }
    }
}

/// Logs where the event differs from the types of this crate, and records it for
/// [`SchemaChange::seen`], except if it is a test.
pub(crate) fn record_changes(event: &Event) {
    let known_type = event.kind().map(EventKind::as_str);
    if let EventData::Unrecognized(unrecognized) = &event.data {
        let misfit = unrecognized.reason.as_deref().map(without_values);
        telemetry::unrecognized(known_type, misfit.as_deref(), event.is_test());
        if !event.is_test() {
            let kind = match misfit {
                Some(_) => SchemaChangeKind::Misfit,
                None => SchemaChangeKind::UnknownType,
            };
            count(kind, event.event_type(), &misfit.unwrap_or_default());
        }
    }
    if event.unknown_fields().is_empty() || event.is_test() {
        return;
    }
    telemetry::unknown_fields(known_type);
    for path in event.unknown_fields() {
        if count(SchemaChangeKind::UnknownField, event.event_type(), path) {
            telemetry::new_field(event.event_type(), path);
        }
    }
}

/// Counts a difference. Returns whether it is new and there was still room to record it.
fn count(kind: SchemaChangeKind, event_type: &str, detail: &str) -> bool {
    let event_type = telemetry::escape(event_type);
    let detail = telemetry::escape_up_to(2 * 64, detail);
    let mut changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = changes
        .iter_mut()
        .find(|it| it.kind == kind && it.event_type == event_type && it.detail == detail);
    if let Some(known) = known {
        known.count += 1;
        return false;
    }
    let is_kept = changes.iter().filter(|it| it.kind == kind).count() < MAX_CHANGES;
    if is_kept {
        changes.push(SchemaChange {
            kind,
            event_type,
            detail,
            first_seen: SystemTime::now(),
            count: 1,
        });
    }
    is_kept
}

/// Removes the parts of a reason that quote the payload.
///
/// serde writes such a reason as `invalid type: string "a title", expected f64`.
fn without_values(reason: &str) -> String {
    let (path, problem) = match reason.split_once(": ") {
        Some((path, problem)) if path.starts_with("data.") => (path, problem),
        _ => ("data", reason),
    };
    let problem = match problem.rsplit_once(", expected ") {
        Some((found, expected)) => {
            let found = found.split(['"', '`']).next().unwrap_or_default();
            format!("{}, expected {expected}", found.trim_end())
        }
        None if problem.starts_with("missing field `") || problem == "payload is not an object" => {
            problem.to_owned()
        }
        None => "does not fit".to_owned(),
    };
    format!("{path}: {problem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_does_not_quote_the_payload() {
        for (reason, expected) in [
            ("missing field `video_id`", "data: missing field `video_id`"),
            (
                "data.matches[]: missing field `confidence`",
                "data.matches[]: missing field `confidence`",
            ),
            (
                "data.duration: invalid type: string \"hid`d\\\"en: , expected x\", expected f64",
                "data.duration: invalid type: string, expected f64",
            ),
            (
                "data.segment_index: invalid value: integer `-5`, expected u64",
                "data.segment_index: invalid value: integer, expected u64",
            ),
            ("data.id: hidden", "data.id: does not fit"),
            ("payload is not an object", "data: payload is not an object"),
        ] {
            assert_eq!(without_values(reason), expected);
        }
    }

    #[test]
    fn a_sender_cannot_fill_the_memory() {
        for round in 0..2 {
            for number in 0..1_000 {
                let name = "n".repeat(number);
                let body =
                    format!(r#"{{"type": "x{number}{name}", "{number}{name}": 1, "data": 1}}"#);
                record_changes(&Event::from_slice(body.as_bytes()).unwrap());
            }
            let seen = SchemaChange::seen();
            assert_eq!(seen.len(), 2 * MAX_CHANGES, "round {round}");
            assert!(
                seen.iter()
                    .all(|it| it.event_type.len() + it.detail.len() < 256)
            );
        }
    }
}
