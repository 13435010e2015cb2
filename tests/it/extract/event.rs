//! An [`Event`] or a [`Delivery`] as an argument, with and without the layer.

use axum::{Router, response::IntoResponse, routing::post};
use http::StatusCode;
use soundhash_webhook::{Delivery, Event, EventErrorKind, EventRejection, EventRejectionKind};

use super::{protected, respond};
use crate::support::{BODY, signed};

async fn event_type(event: Event) -> String {
    event.event_type().to_owned()
}

/// Attack: reach an unprotected handler.
#[tokio::test]
async fn without_the_layer_nothing_is_parsed_and_the_response_is_500() {
    async fn never(_: Event) {
        unreachable!("an unverified body was parsed");
    }
    async fn never_delivery(_: Delivery) {
        unreachable!("an unverified body became a delivery");
    }
    for handler in [post(never), post(never_delivery)] {
        let app = Router::new().route("/webhooks/soundhash", handler);
        let (status, text) = respond(app, signed(BODY)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        // The sender must not learn what is missing.
        assert_eq!(text, "Internal server error");
    }
}

#[tokio::test]
async fn the_missing_layer_is_named_to_the_handler() {
    async fn show(event: Result<Event, EventRejection>) -> String {
        let rejection = event.unwrap_err();
        assert_eq!(rejection.kind(), EventRejectionKind::MissingLayer);
        assert_eq!(rejection.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(rejection.event_error(), None);
        rejection.to_string()
    }
    let app = Router::new().route("/webhooks/soundhash", post(show));
    let (_, text) = respond(app, signed(BODY)).await;
    assert_eq!(text, "no SoundHashWebhookLayer around this handler");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_bad_request_with_its_position() {
    let body = b"{\"event\": \"x\",\n \"data\": None}";
    let (status, text) = respond(protected(event_type), signed(&body[..])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.ends_with("at line 2 column 10"), "{text}");
}

#[tokio::test]
async fn json_that_is_not_an_event_is_unprocessable() {
    for (body, expected) in [
        ("[]", EventErrorKind::NotAnObject),
        (r#"{"data": {}}"#, EventErrorKind::MissingType),
        (r#"{"event": "x"}"#, EventErrorKind::MissingPayload),
    ] {
        let kind = async move |event: Result<Event, EventRejection>| {
            let rejection = event.unwrap_err();
            assert_eq!(rejection.kind(), EventRejectionKind::NotAnEvent);
            assert_eq!(rejection.event_error().unwrap().kind(), expected);
            rejection.into_response()
        };
        let (status, _) = respond(protected(kind), signed(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

/// No authentic delivery is lost, because a handler can extract the bytes along with the rejection.
#[tokio::test]
async fn a_handler_can_store_a_body_that_is_not_an_event() {
    async fn keep(event: Result<Event, EventRejection>, delivery: Delivery) -> Vec<u8> {
        assert!(event.is_err());
        delivery.body().to_vec()
    }
    let body = r#"{"event": "x", "data": Infinite}"#;
    let kept = respond(protected(keep), signed(body)).await;
    assert_eq!(kept, (StatusCode::OK, body.to_owned()));
}

/// Attack: send a recorded body with new headers.
#[tokio::test]
async fn type_and_id_come_from_the_signed_body_never_from_headers() {
    async fn show(event: Event) -> String {
        let id = event.id.as_ref().map(ToString::to_string);
        format!("{} {id:?}", event.event_type())
    }
    let mut request = signed(r#"{"type": "user.created", "id": "signed", "data": {}}"#);
    for name in ["x-webhook-event", "x-delivery-id", "x-webhook-id"] {
        let forged = "forged".parse().unwrap();
        request.headers_mut().insert(name, forged);
    }
    let (_, text) = respond(protected(show), request).await;
    assert_eq!(text, r#"user.created Some("signed")"#);
}
