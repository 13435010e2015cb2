//! A [`Payload`] as an argument, and the responses to events of other types.

use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
use soundhash_webhook::{
    Delivery, Event, EventData, EventKind, EventPayload, MatchFound, Payload, PayloadRejection,
    PayloadRejectionKind, Sender, VideoProcessed, VideoUploaded, testing::sample,
};

use super::protected as app;
use crate::support::{BODY, signed};

async fn answer(app: Router, request: http::Request<axum::body::Body>) -> (u16, String) {
    let (status, text) = super::answer(app, request).await;
    (status.as_u16(), text)
}

async fn title(Payload(video): Payload<VideoProcessed>) -> String {
    video.title.unwrap_or_default()
}

async fn show(video: Result<Payload<VideoProcessed>, PayloadRejection>) -> String {
    let rejection = video.unwrap_err();
    let of = rejection.event().map(Event::event_type);
    format!("{} {of:?} {rejection}", rejection.status())
}

const OTHER: &str = r#"{"event":"match.found","data":{"query_id":1,"matches":[]}}"#;
const MISFIT: &str = r#"{"type":"video.processed","data":{"test":true},"resource_type":"test"}"#;
const UNKNOWN: &str = r#"{"type":"video.remixed","data":{}}"#;

#[tokio::test]
async fn the_payload_is_taken_from_an_event_of_its_type() {
    assert_eq!(
        answer(app(title), signed(BODY)).await,
        (200, "Test Video".into())
    );
}

#[tokio::test]
async fn an_event_with_another_payload_is_unprocessable() {
    for (body, expected) in [
        (OTHER, "event is match.found and not video.processed"),
        (
            UNKNOWN,
            "event is of an unknown type and not video.processed",
        ),
        (MISFIT, "payload does not fit video.processed"),
    ] {
        assert_eq!(
            answer(app(title), signed(body)).await,
            (422, expected.into())
        );
    }
}

#[tokio::test]
async fn a_body_that_is_not_an_event_is_rejected_as_by_the_event_extractor() {
    for body in [
        "[]",
        r#"{"event":"video.processed"}"#,
        "nan",
        r#"{"event":"video.processed","data":{"duration":nan}}"#,
    ] {
        let as_event = answer(app(|_: Event| async {}), signed(body)).await;
        assert_eq!(answer(app(title), signed(body)).await, as_event);
        assert!([400, 422].contains(&as_event.0), "{as_event:?}");
    }
}

/// No authentic delivery is lost, because a handler can take the rejection and the event.
#[tokio::test]
async fn the_rejection_has_the_event() {
    for (body, expected) in [
        (
            OTHER,
            r#"422 Unprocessable Entity Some("match.found") event is match.found and not video.processed"#,
        ),
        (
            MISFIT,
            r#"422 Unprocessable Entity Some("video.processed") payload does not fit video.processed"#,
        ),
        (
            "[]",
            "422 Unprocessable Entity None body is JSON, but not an object",
        ),
    ] {
        assert_eq!(
            answer(app(show), signed(body)).await,
            (200, expected.into())
        );
    }
    let causes = |video: Result<Payload<VideoProcessed>, PayloadRejection>| async {
        let rejection = video.unwrap_err();
        assert!(rejection.event().is_some() != rejection.event_rejection().is_some());
        // The log does not get any part of the body.
        let debug = format!("PayloadRejection({rejection})");
        assert_eq!(format!("{rejection:?}"), debug);
        rejection.into_response()
    };
    assert_eq!(answer(app(causes), signed(OTHER)).await.0, 422);
    assert_eq!(answer(app(causes), signed("nan")).await.0, 400);
}

/// Attack: reach an unprotected handler.
#[tokio::test]
async fn without_the_layer_the_answer_is_500() {
    async fn never(_: Payload<VideoProcessed>) {
        unreachable!("an unverified body was parsed");
    }
    let open = Router::new().route("/webhooks/soundhash", post(never));
    assert_eq!(
        answer(open, signed(BODY)).await,
        (500, "Internal server error".into())
    );
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
    assert_eq!(answer(app(all), signed(BODY)).await.0, 200);
}

#[test]
fn a_payload_knows_its_type() {
    fn check<T: EventPayload + Default>(kind: EventKind) {
        assert_eq!(T::KIND, kind);
        let data: EventData = T::default().into();
        assert_eq!(data.kind(), Some(kind));
        assert!(T::of(&data).is_some());
        let others = EventKind::ALL.iter().filter(|&&other| other != kind);
        for &other in others {
            let body = sample(other, Sender::Portal).to_string();
            let event = Event::from_slice(body.as_bytes()).unwrap();
            assert!(T::of(&event.data).is_none(), "{kind} {other}");
        }
    }
    check::<VideoUploaded>(EventKind::VideoUploaded);
    check::<VideoProcessed>(EventKind::VideoProcessed);
    check::<MatchFound>(EventKind::MatchFound);
}

#[test]
fn types_can_be_shared_between_threads() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn error<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    check::<Payload<VideoProcessed>>();
    error::<PayloadRejection>();
}

#[tokio::test]
async fn a_rejection_has_a_kind() {
    async fn kind(video: Result<Payload<VideoProcessed>, PayloadRejection>) -> String {
        format!("{:?}", video.unwrap_err().kind())
    }
    for (body, expected) in [
        (OTHER, PayloadRejectionKind::OtherType),
        (UNKNOWN, PayloadRejectionKind::OtherType),
        (MISFIT, PayloadRejectionKind::PayloadDoesNotFit),
        ("[]", PayloadRejectionKind::NotAnEvent),
    ] {
        let (_, text) = answer(app(kind), signed(body)).await;
        assert_eq!(text, format!("{expected:?}"), "{body}");
    }
    let open = Router::new().route("/webhooks/soundhash", post(kind));
    let expected = format!("{:?}", PayloadRejectionKind::MissingLayer);
    assert_eq!(answer(open, signed(BODY)).await.1, expected);
}

#[test]
fn a_payload_dereferences_to_its_struct() {
    let mut payload = Payload(VideoProcessed::default());
    payload.title = Some("A song".into());
    let video: &VideoProcessed = &payload;
    assert_eq!(video.title.as_deref(), Some("A song"));
}
