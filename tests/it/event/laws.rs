//! Properties of all events: any JSON object with a type and a payload is an event, parsing a
//! serialized event yields an equal event, and a repair does not change strict JSON.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use soundhash_webhook::{Event, EventErrorKind, EventKind};

use super::captures;

/// The member and field names that the parser knows, from which objects are generated.
static KEYS: LazyLock<Vec<String>> =
    LazyLock::new(|| super::kinds::all_keys().into_iter().collect());

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..100_i64).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        select(EventKind::ALL).prop_map(|kind| json!(kind.as_str())),
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
    prop_oneof![4 => select(&**KEYS), 1 => ".{0,4}"]
}

pub(super) fn capture() -> impl Strategy<Value = Bytes> {
    select(captures().into_values().collect::<Vec<_>>())
}

/// Writes an object that may have duplicate keys.
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
            // An error means that the body is not JSON or not an event.
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
    // A serialized event never has unknown fields.
    let again = Event::from_slice(line.as_bytes()).unwrap();
    prop_assert_eq!(again.unknown_fields(), [""; 0], "{}", body);
    prop_assert!(event.unknown_fields().len() <= 32);
    // The event stays the same when its JSON is indented, and when it is parsed through a `Value`.
    let value: Value = serde_json::from_str(&line).unwrap();
    let indented = serde_json::to_vec_pretty(&value).unwrap();
    let mut again = vec![
        Event::from_slice(line.as_bytes()).unwrap(),
        Event::from_slice(&indented).unwrap(),
        serde_json::from_str(&line).unwrap(),
    ];
    if let Ok(plain) = serde_json::from_str::<Value>(body) {
        again.push(serde_json::from_value(plain).unwrap());
    }
    for again in again {
        prop_assert_eq!(&again, &event, "{}", body);
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
        body in capture(),
        removed in vec(any::<prop::sample::Index>(), 0..3),
        replaced in vec((any::<prop::sample::Index>(), json_value()), 0..3),
        added in vec((key(), json_value()), 0..4),
        doubled in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let event: Value = serde_json::from_slice(&body).unwrap();
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
    fn no_bytes_panic(mut body in capture().prop_map(Vec::from), changes in vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
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
