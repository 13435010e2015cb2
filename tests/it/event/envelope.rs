//! Both envelope formats, and members that are missing, duplicated or of the wrong type.

use super::*;
use soundhash_webhook::{Resource, Sender, UserCreated};

#[test]
fn an_envelope_needs_only_a_type_and_a_payload() {
    let expected = Event::new(Unrecognized::new("made.up", json!({})));
    assert_eq!(read(r#"{"event": "made.up", "data": {}}"#), expected);
    assert_eq!(read(r#"{"type": "made.up", "data": {}}"#), expected);
    assert_eq!(
        read(r#" { "data" : {} , "new" : [] , "type" : "made.up" } "#),
        expected
    );
}

#[test]
fn the_name_of_the_type_tells_the_senders_apart() {
    for (name, body) in captures() {
        let sender = match name.starts_with("portal") {
            true => Sender::Portal,
            false => Sender::Dispatcher,
        };
        let event = Event::from_slice(&body).unwrap();
        assert_eq!(event.sender(), Some(sender), "{name}");
    }
    assert_eq!(Event::new(UserCreated::default()).sender(), None);
}

#[test]
fn any_json_is_a_payload_and_any_string_is_a_type() {
    for payload in ["null", "true", "1.5", r#""text""#, "[]", r#"{"a": [null]}"#] {
        let event = read(&format!(r#"{{"type": "", "data": {payload}}}"#));
        let payload: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(event, Event::new(Unrecognized::new("", payload)));
    }
    assert_eq!(
        read(r#"{"type": "match\u002efound", "data": 1}"#).event_type(),
        "match.found"
    );
}

#[test]
fn the_dispatchers_members_win_over_the_portals() {
    let event = read(
        r#"{"event": "b", "type": "a", "delivery_id": "b", "id": "a",
            "timestamp": "2024-01-02T00:00:00Z", "created_at": "2024-01-01T00:00:00Z", "data": 1}"#,
    );
    assert_eq!(event.event_type(), "a");
    assert_eq!(event.sender(), Some(Sender::Dispatcher));
    assert_eq!(event.id, Some("a".into()));
    assert_eq!(event.created_at, instant("2024-01-01T00:00:00Z"));
}

#[test]
fn an_unusable_member_is_replaced_by_the_other_senders() {
    for unusable in ["null", "true", "1.5", "[1]", r#"{"a": 1}"#] {
        let event = read(&format!(
            r#"{{"type": {unusable}, "event": "b", "id": {unusable}, "delivery_id": 7,
                "created_at": {unusable}, "timestamp": "2024-01-02T00:00:00Z", "data": 1}}"#
        ));
        assert_eq!(event.event_type(), "b");
        assert_eq!(event.sender(), Some(Sender::Portal));
        assert_eq!(event.id, Some(7_u64.into()));
        assert_eq!(event.created_at, instant("2024-01-02T00:00:00Z"));
    }
    let broken =
        r#"{"type": "x", "created_at": "now", "timestamp": "2024-01-02T00:00:00Z", "data": 1}"#;
    assert_eq!(read(broken).created_at, instant("2024-01-02T00:00:00Z"));
}

#[test]
fn an_optional_field_of_the_wrong_type_is_absent() {
    for unusable in ["null", "true", "1.5", "[1]", r#"{"a": 1}"#] {
        let event = read(&format!(
            r#"{{"type": "x", "id": {unusable}, "created_at": {unusable}, "webhook_id": {unusable},
                "resource_id": {unusable}, "resource_type": {unusable}, "data": 1}}"#
        ));
        assert_eq!(event, Event::new(Unrecognized::new("x", json!(1))));
    }
}

#[test]
fn each_half_of_a_resource_can_be_absent() {
    let event = read(r#"{"type": "x", "data": 1, "resource_id": 5}"#);
    assert_eq!(event.resource, Some(made!(Resource { id: Id::from(5) })));
    let event = read(r#"{"type": "x", "data": 1, "resource_type": "user"}"#);
    assert_eq!(
        event.resource,
        Some(made!(Resource {
            resource_type: "user".to_owned()
        }))
    );
}

#[test]
fn ids_keep_their_type() {
    let id = |json: &str| read(&format!(r#"{{"type": "x", "id": {json}, "data": 1}}"#)).id;
    assert_eq!(id("18446744073709551615"), Some(Id::from(u64::MAX)));
    assert_eq!(id("-9223372036854775808"), Some(Id::from(i64::MIN)));
    assert_eq!(id("18446744073709551616"), None);
    assert_eq!(id("-9223372036854775809"), None);
    assert_eq!(id("5"), Some(Id::from(5_u64)));
    assert_eq!(id(r#""5""#), Some(Id::from("5")));
    assert_eq!(id(r#""""#), Some(Id::from("")));
    assert_eq!(id(r#""a\"\ud83c\udfb5""#), Some(Id::from("a\"🎵")));
}

#[test]
fn the_last_value_of_a_duplicate_key_counts() {
    let event = read(
        r#"{"type": "a", "type": "user.created", "id": 1, "id": 2,
            "data": 1, "data": {"user_id": 1, "user_id": 2, "username": "n", "email": 1, "email": "e"}}"#,
    );
    let user = made!(UserCreated {
        user_id: 2,
        username: "n",
        email: "e"
    });
    assert_eq!(event.data, user.into());
    assert_eq!(event.id, Some(2_u64.into()));

    // The last duplicate counts even if its value is unusable.
    let event = read(r#"{"type": "x", "id": 1, "id": null, "data": 1}"#);
    assert_eq!(event.id, None);
    let twice = r#"{"event": "user.created", "data": {"user_id": 1, "username": "n", "email": "e", "email": 5}}"#;
    match read(twice).data {
        EventData::Unrecognized(it) => assert_eq!(
            it.reason.as_deref(),
            Some("data.email: invalid type: integer `5`, expected a string")
        ),
        other => panic!("fits: {other:?}"),
    }
}
