//! Parses envelopes and payloads from arbitrary bytes and from Python-style JSON that resembles an
//! event.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use soundhash_webhook::{Event, EventData, EventError, EventErrorKind};
use soundhash_webhook_fuzz::Document;

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut input = Unstructured::new(data);
    if let Ok(document) = Document::arbitrary(&mut input) {
        let (python, strict) = (document.to_string(), format!("{document:#}"));
        check(python.as_bytes());
        check_repair(python.as_bytes(), strict.as_bytes());
    }
});

/// `serde_json`'s `Value` treats objects with such a key specially, but an event must not. Bodies
/// that contain this key are therefore not compared.
const PRIVATE: &str = "$serde_json::private::";

fn plain(body: &[u8]) -> Option<Value> {
    let value = serde_json::from_slice(body).ok()?;
    let text = str::from_utf8(body).expect("JSON is UTF-8");
    (!text.contains(PRIVATE)).then_some(value)
}

fn check(body: &[u8]) {
    let plain = plain(body);
    match Event::from_slice(body) {
        Ok(event) => {
            if let Some(plain) = plain {
                assert!(!event.is_repaired(), "strict JSON was repaired");
                check_meaning(&event, &plain);
            }
            check_unknown(&event);
            check_round_trip(&event);
        }
        Err(error) => {
            if let Some(plain) = plain {
                assert_eq!(Some(error.kind()), lack(&plain), "{error}");
            }
            check_position(&error, body);
        }
    }
}

/// Returns the reason why a plain JSON value is not an event, or `None` if it must be accepted as
/// one.
fn lack(plain: &Value) -> Option<EventErrorKind> {
    let Value::Object(members) = plain else {
        return Some(EventErrorKind::NotAnObject);
    };
    if event_type(plain).is_none() {
        return Some(EventErrorKind::MissingType);
    }
    (!members.contains_key("data")).then_some(EventErrorKind::MissingPayload)
}

fn event_type(plain: &Value) -> Option<&str> {
    let mut names = ["type", "event"].into_iter();
    names.find_map(|name| plain[name].as_str())
}

/// Checks that Python-style JSON parses to the same event as the equivalent strict JSON.
fn check_repair(python: &[u8], strict: &[u8]) {
    match (Event::from_slice(python), Event::from_slice(strict)) {
        (Ok(read), Ok(expected)) => {
            assert_eq!(read, expected);
            assert!(!expected.is_repaired() || python == strict);
        }
        (Err(error), Err(expected)) => assert_eq!(error.kind(), expected.kind()),
        (read, expected) => panic!("{read:?} is not {expected:?}"),
    }
}

/// Checks that the list of unknown fields stays short for every body.
fn check_unknown(event: &Event) {
    let fields = event.unknown_fields();
    assert!(fields.len() <= 32, "{fields:?}");
    let longest = fields.iter().map(|it| it.chars().count()).max();
    assert!(longest.unwrap_or_default() <= 2 * 64, "{fields:?}");
}

/// Checks an event against the JSON that it was parsed from.
fn check_meaning(event: &Event, plain: &Value) {
    assert_eq!(lack(plain), None, "{plain} is not an event");
    assert_eq!(Some(event.event_type()), event_type(plain));
    assert_eq!(event.is_test(), plain["resource_type"] == "test");
    if let EventData::Unrecognized(unrecognized) = &event.data {
        assert_eq!(unrecognized.payload, plain["data"]);
        assert_eq!(unrecognized.reason.is_some(), event.kind().is_some());
    }
    let by_value: Event = serde_json::from_value(plain.clone()).expect("an event");
    assert_eq!(&by_value, event);
}

/// Checks that serializing an event, as compact or indented JSON, and parsing it again yields an
/// equal event.
fn check_round_trip(event: &Event) {
    let line = serde_json::to_vec(event).expect("JSON");
    let again = Event::from_slice(&line).expect("an event");
    assert_eq!(&again, event);
    assert_eq!(again.unknown_fields(), [""; 0]);
    // An event that was parsed from bytes can be nested too deeply for a plain value.
    let Some(value) = plain(&line) else { return };
    let indented = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(Event::from_slice(&indented).as_ref(), Ok(event));
    let by_serde: Event = serde_json::from_slice(&line).expect("an event");
    assert_eq!(&by_serde, event);
}

/// Checks that an error's position is within the body.
fn check_position(error: &EventError, body: &[u8]) {
    let (Some(line), Some(column)) = (error.line(), error.column()) else {
        assert_ne!(error.kind(), EventErrorKind::Syntax);
        return;
    };
    let mut lines = body.split(|&byte| byte == b'\n');
    let len = lines.nth(line - 1).map(<[u8]>::len);
    // The column is one past the end of the line if the body ended too early.
    assert!(len.is_some_and(|len| column <= len + 1), "{error}");
}
