//! [`Payload`] as an argument, and the responses to events of other types.

use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{Delivery, Event, EventData, Payload, PayloadRejection, VideoProcessed};

use super::protected as app;
use crate::support::{BODY, signed};

async fn respond(app: Router, request: http::Request<axum::body::Body>) -> (u16, String) {
    let (status, text) = super::respond(app, request).await;
    (status.as_u16(), text)
}

async fn title(Payload(video): Payload<VideoProcessed>) -> String {
    video.title.unwrap_or_default()
}

const OTHER: &str = r#"{"event":"match.found","data":{"query_id":1,"matches":[]}}"#;
const MISFIT: &str = r#"{"type":"video.processed","data":{"test":true},"resource_type":"test"}"#;
const UNKNOWN: &str = r#"{"type":"video.remixed","data":{}}"#;

#[tokio::test]
async fn the_payload_is_taken_from_an_event_of_its_type() {
    assert_eq!(
        respond(app(title), signed(BODY)).await,
        (200, "Test Video".into())
    );
}

/// No authentic delivery is lost, because a handler can extract the event along with the rejection.
#[tokio::test]
async fn an_event_with_another_payload_is_unprocessable_and_the_rejection_has_it() {
    async fn show(video: Result<Payload<VideoProcessed>, PayloadRejection>) -> String {
        let rejection = video.unwrap_err();
        assert_ne!(
            rejection.event().is_some(),
            rejection.event_rejection().is_some()
        );
        // `Debug` must not show any part of the body, because it may be logged.
        let debug = format!("PayloadRejection({rejection})");
        assert_eq!(format!("{rejection:?}"), debug);
        let of = rejection.event().map_or("none", Event::event_type);
        format!("{:?} {of}", rejection.kind())
    }
    let unknown = "event is of an unknown type and not video.processed";
    for (body, text, shown) in [
        (
            OTHER,
            "event is match.found and not video.processed",
            "OtherType match.found",
        ),
        (UNKNOWN, unknown, "OtherType video.remixed"),
        (
            MISFIT,
            "payload does not fit video.processed",
            "PayloadDoesNotFit video.processed",
        ),
        ("[]", "body is JSON, but not an object", "NotAnEvent none"),
    ] {
        assert_eq!(respond(app(title), signed(body)).await, (422, text.into()));
        assert_eq!(respond(app(show), signed(body)).await, (200, shown.into()));
    }
    let open = Router::new().route("/webhooks/soundhash", post(show));
    assert_eq!(respond(open, signed(BODY)).await.1, "MissingLayer none");
}

/// The body is parsed once for all extractors, and each gets the same event.
#[tokio::test]
async fn a_payload_works_next_to_the_other_extractors() {
    async fn all(
        Payload(video): Payload<VideoProcessed>,
        delivery: Delivery,
        event: Event,
        body: String,
    ) -> StatusCode {
        assert_eq!(event.data, EventData::VideoProcessed(video));
        assert_eq!(delivery.event(), Ok(&event));
        assert_eq!(body.as_bytes(), delivery.body());
        StatusCode::OK
    }
    assert_eq!(respond(app(all), signed(BODY)).await.0, 200);
}

#[test]
fn types_can_be_shared_between_threads() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn error<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    check::<Payload<VideoProcessed>>();
    error::<PayloadRejection>();
}

#[test]
fn a_payload_dereferences_to_its_struct() {
    let mut payload = Payload(VideoProcessed::default());
    payload.title = Some("A song".into());
    let video: &VideoProcessed = &payload;
    assert_eq!(video.title.as_deref(), Some("A song"));
}
