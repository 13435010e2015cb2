//! Fields that this crate's types do not have.

use super::*;

#[track_caller]
fn unknown(body: &str) -> Vec<String> {
    let event = Event::from_slice(body.as_bytes()).expect(body);
    let value: Result<Value, _> = serde_json::from_str(body);
    if let Ok(value) = value {
        let by_serde: Event = serde_json::from_value(value).unwrap();
        let sorted = |event: &Event| {
            let mut fields = event.unknown_fields().to_vec();
            fields.sort();
            fields
        };
        assert_eq!(sorted(&by_serde), sorted(&event), "{body}");
    }
    event.unknown_fields().to_vec()
}

const USER: &str = r#""user_id": 1, "username": "n", "email": "e""#;

#[test]
fn everything_that_the_senders_write_is_known() {
    for (name, body) in captures() {
        let event = Event::from_slice(&body).unwrap();
        assert_eq!(event.unknown_fields(), [""; 0], "{name}");
    }
}

#[test]
fn new_fields_are_named_by_their_path() {
    for (body, expected) in [
        (
            format!(r#"{{"type": "user.created", "new": {{"a": 1}}, "data": {{{USER}, "plan": [{{}}]}}}}"#),
            &["new", "data.plan"][..],
        ),
        // The payload comes before the type, so it is parsed once the type is known.
        (
            format!(r#"{{"data": {{{USER}, "plan": 1, "plan": 2}}, "type": "user.created", "n\u0065w": 1}}"#),
            &["new", "data.plan"],
        ),
        (
            r#"{"event": "match.found", "data": {"query_id": 1, "matches": [
                {"video_id": 1, "confidence": 1, "start_time": 0, "end_time": 1, "x": 1, "reset_at": 1},
                {"video_id": 1, "confidence": 1, "start_time": 0, "end_time": 1, "x": 1, "\u0079": 2}
            ]}}"#
                .to_owned(),
            &["data.matches[].x", "data.matches[].reset_at", "data.matches[].y"],
        ),
        (
            r#"{"event": "video.processed", "data": {"id": 1, "fingerprints":
                [{"id": 1, "segment_index": 0, "start_time": 0, "end_time": 1, "hash": NaN}]}}"#
                .to_owned(),
            &["data.fingerprints[].hash"],
        ),
        // The parser reads a payload with a duplicate field twice.
        (
            format!(r#"{{"type": "user.created", "data": {{"a": 1, {USER}, "email": "f"}}}}"#),
            &["data.a"],
        ),
        // The portal adds these fields to every payload.
        (
            format!(r#"{{"type": "user.created", "data": {{{USER}, "uploaded_at": 1, "reset_at": null}}}}"#),
            &[],
        ),
        // A payload is searched for unknown fields only if it fits its type.
        (r#"{"type": "user.created", "data": {"plan": 1}, "new": 1}"#.to_owned(), &["new"]),
        (r#"{"type": "made.up", "data": {"plan": 1}}"#.to_owned(), &[]),
        // Only the fields of the last duplicate count.
        (
            format!(r#"{{"type": "user.created", "data": {{{USER}, "a": 1}}, "data": {{{USER}}}}}"#),
            &[],
        ),
    ] {
        assert_eq!(unknown(&body), expected, "{body}");
    }
}

#[test]
fn a_sender_cannot_make_the_list_long() {
    let members = |count: usize| {
        let members = (0..count).map(|n| format!(r#""{n}{}": 1"#, "é".repeat(100_000 / count)));
        members.collect::<Vec<_>>().join(", ")
    };
    for count in [1, 10, 10_000] {
        let (members, user) = (members(count), USER);
        let body =
            format!(r#"{{"type": "user.created", "data": {{{user}, {members}}}, {members}}}"#);
        let event = Event::from_slice(body.as_bytes()).unwrap();
        let fields = event.unknown_fields();
        assert_eq!(fields.len(), 2 * count.min(16));
        assert!(
            fields
                .iter()
                .all(|it| it.chars().count() <= 64 + "data.…".len()),
            "{fields:?}"
        );
    }
}

#[test]
fn a_misfit_is_kept_with_its_reason_and_its_field() {
    const MATCH: &str = "match.found";
    const USER: &str = "user.created";
    const ID: &str =
        "data.user_id: invalid type: sequence, expected an id (a 64-bit integer or a string)";
    const USERNAME: &str = "data.username: invalid type: integer `5`, expected a string";
    const CONFIDENCE: &str =
        "data.matches[].confidence: invalid type: string \"high\", expected f64";
    const LIST: &str = "data.matches: invalid type: integer `7`, expected a sequence";
    const NO_CONFIDENCE: &str = "data.matches[]: missing field `confidence`";
    const NO_OBJECT: &str = "payload is not an object";
    let high = json!({"query_id": 1, "matches": [{"video_id": 1, "confidence": "high"}]});
    let listed = json!({"query_id": 1, "matches": [{"video_id": 2}]});
    let flat = json!({"query_id": 1, "matched_video_id": 2});
    for (event_type, payload, reason) in [
        (USER, json!({"user_id": 1, "username": 5}), USERNAME),
        (USER, json!({"user_id": [1]}), ID),
        (USER, Value::Null, NO_OBJECT),
        (USER, json!("n"), NO_OBJECT),
        (USER, json!([1, "n", "e"]), NO_OBJECT),
        (MATCH, high, CONFIDENCE),
        (MATCH, listed, NO_CONFIDENCE),
        (MATCH, json!({"query_id": 1, "matches": 7}), LIST),
        (MATCH, json!({"query_id": 1}), "missing field `matches`"),
        (MATCH, flat, "missing field `confidence`"),
        (
            "video.processed",
            json!({"url": "u"}),
            "missing field `video_id`",
        ),
    ] {
        let unrecognized = misfit(event_type, payload.clone());
        assert_eq!(unrecognized.event_type, event_type);
        assert_eq!(unrecognized.payload, payload);
        assert_eq!(unrecognized.reason.as_deref(), Some(reason), "{payload}");
    }
}
