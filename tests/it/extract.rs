//! What handlers take out of a verified request, and what is answered when they cannot.

use std::convert::Infallible;

use axum::{Router, body::Body, response::IntoResponse, routing::post};
use http::{Request, Response, StatusCode};
use serde_json::Value;
use soundhash_webhook::{Delivery, Event, EventErrorKind, EventRejection, SoundHashWebhookLayer};
use tower::ServiceExt;

use crate::support::{BODY, SECRET, signed, text};

async fn answer(app: Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.oneshot(request).await;
    let response: Response<Body> = response.unwrap_or_else(|error: Infallible| match error {});
    (response.status(), text(response).await)
}

fn protected<H, T>(handler: H) -> Router
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(SoundHashWebhookLayer::new(SECRET))
}

async fn event_type(event: Event) -> String {
    event.event_type().to_owned()
}

#[tokio::test]
async fn an_event_is_taken_from_a_verified_request() {
    let answer = answer(protected(event_type), signed(BODY)).await;
    assert_eq!(answer, (StatusCode::OK, "video.processed".into()));
}

/// Attack: reach a handler that somebody forgot to protect.
#[tokio::test]
async fn without_the_layer_nothing_is_parsed_and_the_answer_is_500() {
    async fn never(_: Event) {
        unreachable!("an unverified body was parsed");
    }
    async fn never_delivery(_: Delivery) {
        unreachable!("an unverified body was taken for a delivery");
    }
    for handler in [post(never), post(never_delivery)] {
        let app = Router::new().route("/webhooks/soundhash", handler);
        let (status, text) = answer(app, signed(BODY)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        // What is missing is the operator's to know.
        assert_eq!(text, "Internal server error");
    }
}

#[tokio::test]
async fn the_missing_layer_is_named_to_the_handler() {
    async fn told(event: Result<Event, EventRejection>) -> String {
        let rejection = event.unwrap_err();
        assert_eq!(rejection.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(rejection.event_error(), None);
        rejection.to_string()
    }
    let app = Router::new().route("/webhooks/soundhash", post(told));
    let (_, text) = answer(app, signed(BODY)).await;
    assert_eq!(text, "no SoundHashWebhookLayer around this handler");
}

/// Authentic, but written by Python: `NaN` is no JSON.
#[tokio::test]
async fn a_body_that_is_not_json_is_a_bad_request_with_its_place() {
    let body = b"{\"event\": \"x\",\n \"data\": NaN}";
    let (status, text) = answer(protected(event_type), signed(&body[..])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.ends_with("at line 2 column 10"), "{text}");
}

#[tokio::test]
async fn json_that_is_no_event_is_unprocessable() {
    for (body, expected) in [
        ("[]", EventErrorKind::NotAnObject),
        (r#"{"data": {}}"#, EventErrorKind::MissingType),
        (r#"{"event": "x"}"#, EventErrorKind::MissingPayload),
    ] {
        let kind = async move |event: Result<Event, EventRejection>| {
            let rejection = event.unwrap_err();
            assert_eq!(rejection.event_error().unwrap().kind(), expected);
            rejection.into_response()
        };
        let (status, _) = answer(protected(kind), signed(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

/// Nothing authentic is lost: the handler may take the failure, and the bytes, itself.
#[tokio::test]
async fn the_verified_bytes_of_what_is_no_event_are_within_reach() {
    async fn keep(event: Result<Event, EventRejection>, delivery: Delivery) -> Vec<u8> {
        assert!(event.is_err());
        delivery.body().to_vec()
    }
    let body = r#"{"event": "x", "data": Infinity}"#;
    assert_eq!(
        answer(protected(keep), signed(body)).await,
        (StatusCode::OK, body.to_owned())
    );
}

/// Attack: a recorded body with new headers. Only what is signed is read.
#[tokio::test]
async fn type_and_id_come_from_the_signed_body_never_from_headers() {
    async fn show(event: Event) -> String {
        format!(
            "{} {:?}",
            event.event_type(),
            event.id.as_ref().map(ToString::to_string)
        )
    }
    let mut request = signed(r#"{"type": "user.created", "id": "signed", "data": {}}"#);
    for name in ["x-webhook-event", "x-delivery-id", "x-webhook-id"] {
        request
            .headers_mut()
            .insert(name, "forged".parse().unwrap());
    }
    let (_, text) = answer(protected(show), request).await;
    assert_eq!(text, r#"user.created Some("signed")"#);
}

/// Endpoint owners can overwrite any header, `Content-Type` included.
#[tokio::test]
async fn the_content_type_is_not_looked_at() {
    let mut request = signed(BODY);
    request
        .headers_mut()
        .insert("content-type", "text/html".parse().unwrap());
    let (status, _) = answer(protected(event_type), request).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_delivery_reads_the_body_as_any_type() {
    async fn read(delivery: Delivery) -> String {
        let value: Value = delivery.json().unwrap();
        let error = delivery.json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), EventErrorKind::Data);
        assert_eq!(delivery.event().unwrap(), Event::from_slice(BODY).unwrap());
        assert!(!format!("{delivery:?}").contains("Test Video"));
        value["data"]["title"].to_string()
    }
    let (_, text) = answer(protected(read), signed(BODY)).await;
    assert_eq!(text, r#""Test Video""#);
}
