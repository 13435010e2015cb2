//! The serialization of an event.

use super::*;
use soundhash_webhook::EventKind;

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

    let event = read_capture("portal-match.found");
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"id":"del_1795424132582","type":"match.found","#,
            r#""created_at":"2026-11-23T08:55:32.582927Z","data":{"query_id":"q_test123","matches":["#,
            r#"{"video_id":123,"title":"Matched Video","confidence":0.95,"start_time":45.0,"#,
            r#""end_time":60.0,"similarity_score":0.94},"#,
            r#"{"video_id":124,"title":"Another Match","confidence":0.87,"start_time":10.0,"#,
            r#""end_time":25.0,"similarity_score":0.85}]},"webhook_id":"wh_test123"}"#,
        )
    );

    let event = Event::new(Unrecognized::new("made.up", Value::Null));
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"type":"made.up","data":null}"#
    );
}

#[test]
fn a_payload_of_the_dispatcher_is_written_as_it_was_sent() {
    for (name, body) in captures() {
        if !name.starts_with("dispatcher-") {
            continue;
        }
        let value: Value = serde_json::from_slice(&body).unwrap();
        let event = Event::from_slice(&body).unwrap();
        if event.kind() != Some(EventKind::MatchFound) {
            let written = serde_json::to_value(&event.data).unwrap();
            assert_eq!(written, value["data"], "{name}");
        }
    }
}

#[test]
fn only_an_event_is_deserialized() {
    let message = |json: &str| serde_json::from_str::<Event>(json).unwrap_err().to_string();
    assert_eq!(message("{}"), "event has no type");
    assert_eq!(message("[]"), "body is JSON, but not an object");
    assert_eq!(message(r#"{"type": "x"}"#), "event has no payload");
}
