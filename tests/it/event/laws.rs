//! Properties of all events. Any JSON object with a type and a payload is an event, an event is
//! equal to its serialization parsed again, and a repair does not change strict JSON.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use soundhash_webhook::{Event, EventErrorKind};

use super::{CAPTURES, captured};

/// Names of members and fields, so that generated objects have fields that are parsed.
const KEYS: &[&str] = &[
    "id",
    "type",
    "created_at",
    "delivery_id",
    "event",
    "timestamp",
    "webhook_id",
    "resource_id",
    "resource_type",
    "data",
    "video_id",
    "title",
    "url",
    "video_url",
    "duration",
    "status",
    "fingerprint_count",
    "fingerprints_count",
    "fingerprints",
    "segment_index",
    "start_time",
    "end_time",
    "processing_time",
    "processing_time_seconds",
    "query_id",
    "query_video_id",
    "matches",
    "match_id",
    "matched_video_id",
    "confidence",
    "segment_start",
    "segment_end",
    "similarity_score",
    "reset_at",
    "uploaded_at",
    "error_message",
    "previous_plan",
    "user_id",
];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..100_i64).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        select(CAPTURES.as_slice()).prop_map(|name| json!(name.split_once('-').map(|it| it.1))),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:00:00(\\.[0-9]{1,12})?([+-]0[0-9]:00)?Z?"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let member = (key(), inner.clone());
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            vec(member, 0..4).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(KEYS).prop_map(str::to_owned), 1 => ".{0,4}"]
}

/// Writes an object in which keys can occur twice.
fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}: {value}", json!(key)))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn members(value: &Value) -> Vec<(String, String)> {
    let object = value.as_object().into_iter().flatten();
    object
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect()
}

fn check(body: &str) -> Result<(), TestCaseError> {
    let event = match Event::from_slice(body.as_bytes()) {
        Ok(event) => event,
        Err(error) => {
            // The only reasons are that the body is not JSON, or that it is not an event.
            let plain = serde_json::from_str::<Value>(body);
            let expected = match &plain {
                Err(_) => EventErrorKind::Syntax,
                Ok(Value::Object(it))
                    if !["type", "event"]
                        .iter()
                        .any(|key| it.get(*key).is_some_and(Value::is_string)) =>
                {
                    EventErrorKind::MissingType
                }
                Ok(Value::Object(it)) if !it.contains_key("data") => EventErrorKind::MissingPayload,
                Ok(Value::Object(_)) => {
                    return Err(TestCaseError::fail(format!("{error}: {body}")));
                }
                Ok(_) => EventErrorKind::NotAnObject,
            };
            prop_assert_eq!(error.kind(), expected, "{}", body);
            return Ok(());
        }
    };
    let line = serde_json::to_string(&event).unwrap();
    prop_assert_eq!(
        &Event::from_slice(line.as_bytes()).unwrap(),
        &event,
        "{}",
        body
    );
    prop_assert_eq!(
        &serde_json::from_str::<Event>(&line).unwrap(),
        &event,
        "{}",
        body
    );
    // Nothing that is written here is unknown.
    let again = Event::from_slice(line.as_bytes()).unwrap();
    prop_assert_eq!(again.unknown_fields(), [""; 0], "{}", body);
    prop_assert!(event.unknown_fields().len() <= 32);
    // The same in another layout, and parsed through a `Value`.
    let value: Value = serde_json::from_str(&line).unwrap();
    let indented = serde_json::to_vec_pretty(&value).unwrap();
    prop_assert_eq!(&Event::from_slice(&indented).unwrap(), &event, "{}", body);
    if let Ok(plain) = serde_json::from_str::<Value>(body) {
        prop_assert_eq!(
            &serde_json::from_value::<Event>(plain).unwrap(),
            &event,
            "{}",
            body
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_is_an_event_or_rejected_for_what_is_missing(value in json_value()) {
        check(&value.to_string())?;
    }

    #[test]
    fn an_event_with_any_envelope_is_read_back_equal(
        name in select(["type", "event"].as_slice()),
        event_type in json_value().prop_map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        }),
        payload in json_value(),
        more in vec((key(), json_value()), 0..6),
    ) {
        let mut all = vec![
            (name.to_owned(), json!(event_type).to_string()),
            ("data".to_owned(), payload.to_string()),
        ];
        all.extend(more.into_iter().map(|(key, value)| (key, value.to_string())));
        check(&object(&all))?;
    }

    #[test]
    fn an_event_with_a_changed_payload_is_read_back_equal(
        name in select(CAPTURES.as_slice()),
        removed in vec(any::<prop::sample::Index>(), 0..3),
        replaced in vec((any::<prop::sample::Index>(), json_value()), 0..3),
        added in vec((key(), json_value()), 0..4),
        doubled in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let event: Value = serde_json::from_slice(&captured(name)).unwrap();
        let mut payload = members(&event["data"]);
        for (index, value) in replaced {
            let index = index.index(payload.len());
            payload[index].1 = value.to_string();
        }
        if let Some(index) = doubled {
            let twice = payload[index.index(payload.len())].clone();
            payload.push(twice);
        }
        for index in removed {
            if !payload.is_empty() {
                payload.remove(index.index(payload.len()));
            }
        }
        payload.extend(added.into_iter().map(|(key, value)| (key, value.to_string())));
        let mut envelope = members(&event);
        envelope.retain(|(key, _)| key != "data");
        envelope.push(("data".to_owned(), object(&payload)));
        check(&object(&envelope))?;
    }

    #[test]
    fn no_bytes_panic(mut body in select(CAPTURES.as_slice()).prop_map(captured), changes in vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        for (index, byte) in changes {
            let index = index.index(body.len());
            body[index] = byte;
        }
        if let Ok(event) = Event::from_slice(&body) {
            let kept = serde_json::to_vec(&event).unwrap();
            prop_assert_eq!(Event::from_slice(&kept).unwrap(), event);
        }
    }
}
