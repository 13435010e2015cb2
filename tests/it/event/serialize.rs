//! The serialization of an event.

use super::*;

#[test]
fn an_event_is_written_as_the_dispatcher_writes_it() {
    let event = read_capture("dispatcher-video.processed");
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"id":"GUk9QbG6t8IzsEZedqB0Ww","type":"video.processed","#,
            r#""created_at":"2026-11-23T08:56:12.683837Z","data":{"video_id":456,"#,
            r#""video_url":"https://youtube.com/watch?v=abc123","fingerprint_count":36,"#,
            r#""title":"Título – 曲 🎵","duration":180.5,"processing_time_seconds":12.3},"#,
            r#""resource_id":"456","resource_type":"video"}"#,
        )
    );

    let event = Event::new(Unrecognized::new("made.up", Value::Null));
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"type":"made.up","data":null}"#
    );
}

#[test]
fn only_an_event_is_deserialized() {
    let message = |json: &str| serde_json::from_str::<Event>(json).unwrap_err().to_string();
    assert_eq!(message("{}"), "event has no type");
    assert_eq!(message("[]"), "body is JSON, but not an object");
    assert_eq!(message(r#"{"type": "x"}"#), "event has no payload");
}
