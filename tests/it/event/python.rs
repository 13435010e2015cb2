//! Bodies that Python writes but that are not strict JSON.

use std::time::{Duration, Instant};

use super::*;
use proptest::prelude::*;
use soundhash_webhook::{EventErrorKind, EventKind, VideoProcessed};

/// Parses an event that needs a repair.
#[track_caller]
fn repaired(body: &str) -> Event {
    let event = read(body);
    assert!(event.is_repaired(), "{event:?}");
    let stored = serde_json::to_vec(&event).unwrap();
    assert!(!Event::from_slice(&stored).unwrap().is_repaired());
    event
}

/// Returns the payload parsed from `value`.
#[track_caller]
fn value(value: &str) -> Value {
    let event = repaired(&format!(r#"{{"type": "made.up", "data": {value}}}"#));
    match event.data {
        EventData::Unrecognized(it) => it.payload,
        other => panic!("known: {other:?}"),
    }
}

#[test]
fn values_that_only_python_writes_are_repaired() {
    let digits = "9".repeat(400);
    for (sent, read) in [
        ("NaN", json!(null)),
        ("Infinity", json!(null)),
        ("-Infinity", json!(null)),
        ("[NaN, Infinity ,-Infinity]", json!([null, null, null])),
        (
            r#"{"NaN": NaN, "Inf": "NaN"}"#,
            json!({"NaN": null, "Inf": "NaN"}),
        ),
        (
            r#"["\" NaN", NaN, "\\", NaN]"#,
            json!(["\" NaN", null, "\\", null]),
        ),
        // Numbers too large for an `f64`.
        ("1e999", json!(null)),
        ("-1E+400", json!(null)),
        ("[1.8e308, 1.7e308]", json!([null, 1.7e308])),
        (&digits, json!(null)),
        (&format!("[-{digits}, 1]"), json!([null, 1])),
        // Unpaired surrogates.
        (r#""\ud83c""#, json!("\u{fffd}")),
        (r#""\uDFB5""#, json!("\u{fffd}")),
        (r#""a\ud83cb\udfb5c""#, json!("a\u{fffd}b\u{fffd}c")),
        (r#""\ud83c\ud83c\udfb5\udfb5""#, json!("\u{fffd}🎵\u{fffd}")),
        (r#""\ud83c\\udfb5""#, json!("\u{fffd}\\udfb5")),
        (r#"{"\ud83c": "\\ud83c"}"#, json!({"\u{fffd}": "\\ud83c"})),
    ] {
        assert_eq!(value(sent), read, "{sent}");
    }
}

#[test]
fn nothing_else_is_repaired() {
    // Python rejects all of these as well.
    let words = r#"nan Nan NAN -NaN +NaN NaN1 1NaN NaNNaN N NaNé infinity +Infinity Inf -Inf - None
        True undefined 01 +1 1. .5 1e 0x10 1_000 --1e999 01e999 1e999.0 [1,] [,1] [NaN,] {NaN:1}
        {1e999:1} 'text' "\x" "\ud83" "\u+123" "\ud83c [ [NaN ] NaN]"#;
    let texts = [
        "NaN NaN",
        "- Infinity",
        "[1 2]",
        r#"{"a": 1,}"#,
        r#"{"a": NaN,}"#,
        "\"\t\"",
        "",
    ];
    let comments = [
        "1 // comment",
        "1 /* comment */",
        "# comment\n1",
        "\u{a0}1",
        "\u{feff}NaN",
    ];
    for value in words.split_whitespace().chain(texts).chain(comments) {
        let body = format!(r#"{{"type": "made.up", "data": {value}}}"#);
        assert_eq!(rejected(&body).kind(), EventErrorKind::Syntax, "{value}");
    }
    // These bytes are not UTF-8. Python does not write unpaired surrogates this way.
    let body = b"{\"type\": \"made.up\", \"data\": [NaN, \"\xed\xa0\xbc\"]}";
    assert_eq!(rejected(body).kind(), EventErrorKind::Syntax);
}

#[test]
fn integers_of_any_size_are_read() {
    // An integer within the range of `f64` is rounded if necessary, but not repaired.
    for digits in [19, 20, 21, 100, 308] {
        let integer = "1".repeat(digits);
        let event = read(&format!(r#"{{"type": "made.up", "data": [{integer}]}}"#));
        assert!(!event.is_repaired());
        let EventData::Unrecognized(it) = event.data else {
            panic!("known");
        };
        assert_eq!(it.payload[0].as_f64(), integer.parse().ok());
    }
    assert_eq!(value(&"1".repeat(100_000)), Value::Null);
}

#[test]
fn a_repaired_payload_is_typed() {
    let event = repaired(
        r#"{"type": "video.processed", "data": {"video_id": 7, "title": "Cut \ud83c", "duration": NaN}}"#,
    );
    let expected = made!(VideoProcessed {
        video_id: Id::from(7),
        title: "Cut \u{fffd}".to_owned(),
    });
    assert_eq!(event, Event::new(expected));

    // The repair removes a required number, so the event stays untyped.
    let event = repaired(
        r#"{"type": "match.found", "data": {"query_id": 1, "matches": [{"video_id": 2,
            "confidence": NaN, "start_time": 0, "end_time": 1}]}}"#,
    );
    assert_eq!(event.kind(), Some(EventKind::MatchFound));
    let EventData::Unrecognized(it) = event.data else {
        panic!("fits");
    };
    assert_eq!(
        it.reason.as_deref(),
        Some("data.matches[]: missing field `confidence`")
    );
    assert_eq!(it.payload["matches"][0]["confidence"], Value::Null);
    assert_eq!(it.payload["matches"][0]["video_id"], 2);
}

#[test]
fn a_value_that_is_not_read_need_not_be_repaired() {
    let event = read(
        r#"{"new": "\ud83c", "type": "video.processed", "more": 1e999,
            "data": {"id": 1, "new": ["\ud83c", 1e999]}}"#,
    );
    assert!(!event.is_repaired());
    let expected = made!(VideoProcessed {
        video_id: Id::from(1)
    });
    assert_eq!(event, Event::new(expected));
}

#[test]
fn an_envelope_is_repaired() {
    let event = repaired(
        r#"{"id": "a\ud83c", "type": "match\ud83c", "created_at": NaN, "webhook_id": -Infinity,
            "timestamp": "2024-01-15T10:30:00Z", "resource_type": "\udfb5", "resource_id": 1e999,
            "new": [NaN], "data": {"a": 1}}"#,
    );
    assert_eq!(event.id, Some("a\u{fffd}".into()));
    assert_eq!(event.event_type(), "match\u{fffd}");
    assert_eq!(event.created_at, instant("2024-01-15T10:30:00Z"));
    assert_eq!(event.webhook_id, None);
    let resource = event.resource.unwrap();
    assert_eq!(resource.id, None);
    assert_eq!(resource.resource_type.as_deref(), Some("\u{fffd}"));

    let event = repaired(r#"{"id": NaN, "delivery_id": "b", "event": "x", "data": 1}"#);
    assert_eq!(event.id, Some("b".into()));
    let error = rejected(r#"{"type": NaN, "data": 1}"#);
    assert_eq!(error.kind(), EventErrorKind::MissingType);
    assert_eq!(rejected("NaN").kind(), EventErrorKind::NotAnObject);
}

#[test]
fn an_error_after_a_repair_has_the_position_in_the_body() {
    for body in [
        r#"{"type": "x", "data": [NaN, NaN, "NaN", ?]}"#,
        r#"{"type": "x", "data": [1e999, Infinity, "\ud83c", ?]}"#,
        "{\"type\": \"x\", \"new\": NaN,\n \"data\": [NaN, NaN,\n NaN, NaN,\n NaN, ?]}",
    ] {
        let error = rejected(body);
        let before = &body[..body.find('?').unwrap()];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        assert_eq!((error.line(), error.column()), (Some(line), Some(column)));
    }
    // The nesting limit can only be exceeded inside the payload.
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let error = rejected(format!(
        "{{\"type\": \"x\",\n\"data\":\n[NaN, NaN, {deep}]}}"
    ));
    assert_eq!((error.line(), error.column()), (Some(3), Some(11 + 127)));
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

/// An attacker cannot sign such bodies, but an endpoint's owner can.
#[test]
fn a_repair_takes_time_in_proportion_to_the_body() {
    const LENGTH: usize = 1 << 20;
    let deep = "[".repeat(LENGTH / 2) + &"]".repeat(LENGTH / 2);
    let start = Instant::now();
    let parts = [
        "NaN,", "1e999,", "NaN", "\\ud83c", "[NaN,", "\"", "1", "e", "-",
    ];
    let longer = ["\"\\ud83c\",", "-Infinity,\n", "{\"a\":NaN,"];
    for part in parts.into_iter().chain(longer) {
        let parts = part.repeat(LENGTH / part.len());
        for (open, close) in [("[", "1]"), ("", ""), ("\"", "\""), ("NaN, ", "e999")] {
            let _ = Event::from_slice(
                format!(r#"{{"type": "match.found", "data": {open}{parts}{close}}}"#).as_bytes(),
            );
        }
    }
    let unread = format!(r#"{{"type": "x", "new": {deep}, "more": NaN, "data": 1}}"#);
    assert_eq!(
        repaired(&unread),
        Event::new(Unrecognized::new("x", json!(1)))
    );
    let error = rejected(format!(r#"{{"type": "x", "more": NaN, "data": {deep}}}"#));
    assert_eq!(error.kind(), EventErrorKind::Syntax);
    // Without optimization, this takes a second or two. If the time were quadratic, it would take
    // hours.
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
}

/// JSON with values that only Python writes, and the equivalent strict JSON.
fn python() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        Just(("NaN".into(), "null".into())),
        Just(("-Infinity".into(), "null".into())),
        Just(("1e999".into(), "null".into())),
        Just((r#""a\ud83cNaN""#.into(), "\"a\u{fffd}NaN\"".into())),
        any::<i64>().prop_map(|it| (it.to_string(), it.to_string())),
        "[ -~é🎵]{0,8}".prop_map(|it| (json!(it).to_string(), json!(it).to_string())),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let items = prop::collection::vec(inner, 0..4);
        (items, any::<bool>()).prop_map(|(items, object)| {
            let join = |part: fn(&(String, String)) -> &String| {
                let parts = items.iter().enumerate().map(|(index, item)| match object {
                    true => format!("\"k{index}\": {}", part(item)),
                    false => part(item).clone(),
                });
                let parts = parts.collect::<Vec<_>>().join(", ");
                match object {
                    true => format!("{{{parts}}}"),
                    false => format!("[{parts}]"),
                }
            };
            (join(|it| &it.0), join(|it| &it.1))
        })
    })
}

proptest! {
    #[test]
    fn a_repaired_event_is_that_of_the_strict_json((python, strict) in python(), capture in laws::capture()) {
        let mut event: Value = serde_json::from_slice(&capture).unwrap();
        event["data"] = json!("PAYLOAD");
        let event = event.to_string();
        let read = Event::from_slice(event.replace("\"PAYLOAD\"", &python).as_bytes()).unwrap();
        let expected = Event::from_slice(event.replace("\"PAYLOAD\"", &strict).as_bytes()).unwrap();
        prop_assert!(!expected.is_repaired());
        prop_assert_eq!(read.is_repaired(), python != strict);
        prop_assert_eq!(read, expected);
    }
}
