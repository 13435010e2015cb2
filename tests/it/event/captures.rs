//! Requests that SoundHash's senders wrote to a socket, and the events in them.

use std::collections::BTreeMap;

use super::*;
use soundhash_webhook::{EventKind, Fingerprint, Match, MatchFound, VideoProcessed};

/// `captures.json` has each event as the crate writes it, which is how the dispatcher writes it.
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

/// The file does not show the types of the fields.
#[test]
fn an_event_of_each_sender_has_typed_fields() {
    let dispatched = read_capture("dispatcher-video.processed");
    assert_eq!(dispatched.id, Some("GUk9QbG6t8IzsEZedqB0Ww".into()));
    assert_eq!(
        dispatched.created_at,
        instant("2026-11-23T08:56:12.683837Z")
    );
    assert_eq!(dispatched.resource.unwrap().id, Some("456".into()));
    let expected = made!(VideoProcessed {
        video_id: Id::from(456),
        video_url: "https://youtube.com/watch?v=abc123".to_owned(),
        fingerprint_count: 36,
        title: "Título – 曲 🎵".to_owned(),
        duration: 180.5,
        processing_time_seconds: 12.3,
    });
    assert_eq!(dispatched.data, expected.into());

    let sent = read_capture("portal-video.processed");
    assert_eq!(sent.created_at, instant("2026-11-23T08:55:32.330187Z"));
    assert_eq!(sent.webhook_id, Some("wh_test123".into()));
    let first = made!(Fingerprint {
        id: 456,
        end_time: 90
    });
    let second = made!(Fingerprint {
        id: 457,
        segment_index: 1_u64,
        start_time: 90,
        end_time: 180
    });
    let expected = made!(VideoProcessed {
        video_id: Id::from(123),
        video_url: "https://youtube.com/watch?v=test123".to_owned(),
        title: "Test Video".to_owned(),
        duration: 180.0,
        processing_time_seconds: 45.2,
        status: "processed".to_owned(),
        fingerprints: [first, second],
    });
    assert_eq!(sent.data, expected.into());

    let only = made!(Match {
        match_id: Id::from(123),
        video_id: "xyz789",
        confidence: 0.95,
        start_time: 30.5,
        end_time: 45.2,
    });
    let expected = made!(MatchFound {
        query_id: "abc123",
        matches: [only]
    });
    assert_eq!(read_capture("dispatcher-match.found").data, expected.into());
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
