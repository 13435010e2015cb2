//! Parsing the body of a [`Delivery`].

use http::StatusCode;
use serde_json::Value;
use soundhash_webhook::{Delivery, Event, EventErrorKind, Id, idempotency::Key};

use super::{protected, respond};
use crate::support::{BODY, signed};

/// Delivers `body` to a handler, and passes the resulting delivery to `check`.
async fn with_delivery(body: &str, check: fn(Delivery)) {
    let handler = async move |delivery: Delivery| check(delivery);
    let (status, _) = respond(protected(handler), signed(body.to_owned())).await;
    assert_eq!(status, StatusCode::OK);
}

const PYTHON: &str = r#"{"id": "a", "type": "video.processed", "new": NaN,
    "created_at": "2026-11-23T08:56:12Z",
    "data": {"video_id": 7, "title": "Cut \ud83c", "duration": 1e999}}"#;

#[tokio::test]
async fn the_body_is_read_as_any_type() {
    with_delivery(str::from_utf8(BODY).unwrap(), |delivery| {
        let value: Value = delivery.json().unwrap();
        assert_eq!(value["data"]["title"], "Test Video");
        let error = delivery.json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::Data);
        assert_eq!(delivery.event(), Event::from_slice(BODY).as_ref());
        // The body is parsed once, even if the delivery is cloned.
        let again = delivery.clone();
        let events = (delivery.event().unwrap(), again.event().unwrap());
        assert!(std::ptr::eq(events.0, events.1));
        assert!(!format!("{delivery:?}").contains("Test Video"));
    })
    .await;
}

#[tokio::test]
async fn event_and_json_agree_on_a_repaired_body() {
    with_delivery(PYTHON, |delivery| {
        assert_eq!(delivery.body(), PYTHON.as_bytes());
        let event = delivery.event().unwrap();
        assert!(event.is_repaired());
        assert_eq!(event.id, Some(Id::from("a")));
        assert_eq!(delivery.event_type(), Some("video.processed"));
        assert!(event.created_at.is_some());
        assert_eq!(delivery.created_at(), event.created_at);
        let kept = serde_json::to_value(event).unwrap();

        let value: Value = delivery.json().unwrap();
        assert_eq!(value["id"], kept["id"]);
        assert_eq!(value["data"]["title"], kept["data"]["title"]);
        assert_eq!(value["data"]["title"], "Cut \u{fffd}");
        assert_eq!(value["data"]["duration"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_repair_does_not_change_the_idempotency_key() {
    let key = async |delivery: Delivery| Key::from(&delivery).to_string();
    let strict = r#"{"id": "a", "type": "x", "data": 1}"#;
    assert_eq!(
        respond(protected(key), signed(PYTHON)).await,
        respond(protected(key), signed(strict)).await
    );
}

#[tokio::test]
async fn a_type_that_borrows_is_read_from_a_repaired_body() {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        id: &'a str,
        new: Option<f64>,
    }
    with_delivery(PYTHON, |delivery| {
        let envelope: Envelope<'_> = delivery.json().unwrap();
        assert_eq!((envelope.id, envelope.new), ("a", None));
        let error = delivery.json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::Data);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_repaired_is_an_error_with_its_position() {
    with_delivery(r#"{"type": "x", "data": [NaN, 1,]}"#, |delivery| {
        let error = delivery.json::<Value>().unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::Syntax);
        assert_eq!((error.line(), error.column()), (Some(1), Some(31)));
        assert_eq!((delivery.event_type(), delivery.created_at()), (None, None));
        let event = delivery.event().unwrap_err();
        assert_eq!((event.line(), event.column()), (Some(1), Some(31)));
    })
    .await;
}
