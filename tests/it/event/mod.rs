//! Events in the formats of SoundHash's senders, and how they are parsed.

use serde_json::{Value, json};
use soundhash_webhook::{Event, EventData, EventError, Id, Timestamp, Unrecognized};
use soundhash_webhook_tests::captures::bodies as captures;

/// Creates a value of a `#[non_exhaustive]` struct, with defaults for the other fields.
macro_rules! made {
    ($Type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut value = $Type::default();
        $(value.$field = $value.into();)*
        value
    }};
}

mod captures;
mod envelope;
mod errors;
mod kinds;
mod laws;
mod openapi;
mod payload;
mod python;
mod serialize;
mod timestamp;
#[cfg(feature = "chrono")]
mod timestamp_chrono;
#[cfg(feature = "time")]
mod timestamp_time;
mod unknown;

/// Returns the event from a captured request.
#[track_caller]
fn read_capture(name: &str) -> Event {
    Event::from_slice(&captures()[name]).unwrap()
}

#[track_caller]
fn read(body: &str) -> Event {
    let event = Event::from_slice(body.as_bytes()).expect(body);
    let stored = serde_json::to_vec(&event).unwrap();
    assert_eq!(Event::from_slice(&stored).unwrap(), event);
    assert_eq!(serde_json::from_slice::<Event>(&stored).unwrap(), event);
    event
}

/// Returns the data of an event with this type and payload, in a minimal envelope.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "payloads are made in place")]
fn data(event_type: &str, payload: Value) -> EventData {
    read(&json!({"event": event_type, "data": payload}).to_string()).data
}

#[track_caller]
fn misfit(event_type: &str, payload: Value) -> Unrecognized {
    match data(event_type, payload) {
        EventData::Unrecognized(unrecognized) => unrecognized,
        other => panic!("fits: {other:?}"),
    }
}

#[track_caller]
fn rejected(body: impl AsRef<[u8]>) -> EventError {
    Event::from_slice(body.as_ref()).unwrap_err()
}

#[expect(clippy::unnecessary_wraps, reason = "for fields that are optional")]
fn instant(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn the_types_can_be_shared_between_threads() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<Event>();
    check::<EventError>();
    check::<Id>();
    check::<Timestamp>();
}
