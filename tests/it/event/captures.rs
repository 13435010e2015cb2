//! Recorded requests from SoundHash's senders, and the events in them.

use std::collections::BTreeMap;

use super::*;
use soundhash_webhook::EventKind;

/// `captures.json` contains each captured event as the crate serializes it, which is in the
/// dispatcher's format.
#[test]
fn every_capture_is_the_event_in_the_file() {
    let mut expected: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("captures.json")).unwrap();
    for (name, body) in captures() {
        let event = read(str::from_utf8(&body).unwrap());
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(Some(written), expected.remove(&name), "{name}");
        let is_test = name.starts_with("test-button");
        assert_eq!(event.is_test(), is_test, "{name}");
        let is_known = !matches!(event.data, EventData::Unrecognized(_));
        assert_eq!(is_known, !is_test, "{name}");
    }
    assert_eq!(expected, BTreeMap::new());
}

#[test]
fn the_payload_of_the_test_button_fits_no_type_and_is_never_rejected() {
    let button = json!({"test": true, "message": "This is a test webhook event from SoundHash"});
    for kind in EventKind::ALL {
        let unrecognized = misfit(kind.as_str(), button.clone());
        assert_eq!(unrecognized.payload, button);
        let reason = unrecognized.reason.unwrap();
        assert!(
            reason.starts_with("missing field `") && reason.ends_with('`'),
            "{reason}"
        );
    }
    let sent = read_capture("test-button-default");
    assert_eq!(sent.kind(), Some(EventKind::MatchFound));
    let EventData::Unrecognized(data) = sent.data else {
        panic!("fits")
    };
    assert_eq!(data.reason.as_deref(), Some("missing field `query_id`"));
    assert_eq!(read_capture("test-button-unknown-type").kind(), None);
}

#[test]
fn only_the_test_button_makes_a_test() {
    assert!(!read(r#"{"type": "test", "data": {}}"#).is_test());
    assert!(!read(r#"{"type": "x", "data": {}, "resource_type": "user"}"#).is_test());
    assert!(!read(r#"{"type": "x", "data": {}, "resource_id": "test"}"#).is_test());
    assert!(read(r#"{"type": "x", "data": {}, "resource_type": "test"}"#).is_test());
}
