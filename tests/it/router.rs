//! [`EventRouter`]: which handler is called for an event, and the response if there is no handler.

use std::sync::{Arc, LazyLock, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{FromRef, State},
    handler::Handler,
    http::{Request, StatusCode},
    middleware::{self, Next},
    routing::{post, post_service},
};
use soundhash_webhook::{
    Delivery, Event, EventData, EventKind, EventRejection, EventRouter, MatchFound, Payload,
    SIGNATURE_HEADER, Sender, SoundHashWebhookLayer, VideoProcessed, testing::SignedRequest,
};
use tower::{ServiceExt, service_fn};

use crate::{
    process::Receiver,
    support::{BODY, SECRET, sign, signed, text},
};

fn app(events: EventRouter) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(events))
        .layer(SoundHashWebhookLayer::new(SECRET))
}

async fn respond(app: &Router, request: Request<Body>) -> (u16, String) {
    let Ok(response) = app.clone().oneshot(request).await;
    (response.status().as_u16(), text(response).await)
}

/// Returns the response to a signed body.
async fn deliver(app: &Router, body: &str) -> (u16, String) {
    respond(app, signed(body.to_owned())).await
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

async fn video(Payload(video): Payload<VideoProcessed>) -> String {
    format!("video {:?}", video.title)
}

/// The response from [`video`].
const VIDEO: &str = r#"video Some("Test Video")"#;

async fn never() {
    unreachable!("it is not for this handler");
}

/// Events whose type has no handler, whose type is unknown, or whose payload does not fit.
const UNROUTED: &str = r#"{"event":"match.found","data":{"query_id":1,"matches":[]}}"#;
const UNKNOWN: &str = r#"{"event":"video.remixed","data":{}}"#;
const MISFIT: &str = r#"{"type":"video.processed","data":{"test":true}}"#;
const TEST: &str = r#"{"type":"video.processed","data":{"test":true},"resource_type":"test"}"#;
/// Text that is neither JSON nor Python's superset of JSON.
const BROKEN: &str = r#"{"event":"video.processed","data":{"duration":1.}}"#;
/// JSON that is nested too deeply for the payload's parser.
static DEEP: LazyLock<String> = LazyLock::new(|| deep("video.processed"));
static UNROUTED_DEEP: LazyLock<String> = LazyLock::new(|| deep("match.found"));

fn deep(event_type: &str) -> String {
    let (open, close) = ("[".repeat(200), "]".repeat(200));
    format!(r#"{{"event":"{event_type}","data":{open}{close}}}"#)
}

#[tokio::test]
async fn each_type_from_either_sender_is_for_its_own_handler() {
    let mut events = EventRouter::new().fallback(never);
    for &kind in EventKind::ALL {
        let named = move |event: Event| async move { format!("{kind} {}", event.event_type()) };
        events = events.on_kind(kind, named);
    }
    let app = app(events);
    for &kind in EventKind::ALL {
        for envelope in [Sender::Portal, Sender::Dispatcher] {
            let request = SignedRequest::new(SECRET).sample(kind, envelope).build();
            assert_eq!(respond(&app, request).await, ok(&format!("{kind} {kind}")));
        }
    }
}

#[tokio::test]
async fn without_a_fallback_unrouted_events_are_accepted() {
    let app = app(EventRouter::new()
        .on(video)
        .on_kind(EventKind::QuotaWarning, never));
    assert_eq!(deliver(&app, UNROUTED).await, ok(""));
    assert_eq!(deliver(&app, UNKNOWN).await, ok(""));
    // A payload that does not fit is acknowledged only if it comes from the test button.
    assert_eq!(deliver(&app, TEST).await, ok(""));
    let does_not_fit = (422, "payload does not fit video.processed".to_owned());
    assert_eq!(deliver(&app, MISFIT).await, does_not_fit);
    // The payload of an unrouted type is not read.
    assert_eq!(deliver(&app, &UNROUTED_DEEP).await, ok(""));

    for body in [BROKEN, &DEEP, ""] {
        let (status, text) = deliver(&app, body).await;
        assert_eq!(status, 400);
        assert!(text.starts_with("body is not JSON: "), "{text}");
    }
    let no_payload = (422, "event has no payload".to_owned());
    let without = r#"{"event":"video.processed"}"#;
    assert_eq!(deliver(&app, without).await, no_payload);

    // An error does not affect later deliveries.
    assert_eq!(deliver(&app, BROKEN).await.0, 400);
    assert_eq!(respond(&app, signed(BODY)).await, ok(VIDEO));
}

#[tokio::test]
async fn the_fallback_gets_everything_else() {
    async fn other(event: Result<Event, EventRejection>, delivery: Delivery) -> String {
        assert!(!delivery.body().is_empty());
        match event {
            Ok(event) => match event.data {
                EventData::Unrecognized(it) => format!("{} {:?}", it.event_type, it.reason),
                known => known.event_type().to_owned(),
            },
            Err(rejection) => rejection.status().to_string(),
        }
    }
    let app = app(EventRouter::new().on(video).fallback(other));
    for (body, expected) in [
        (UNROUTED, "match.found"),
        (UNKNOWN, "video.remixed None"),
        (
            MISFIT,
            r#"video.processed Some("missing field `video_id`")"#,
        ),
        (BROKEN, "400 Bad Request"),
        (&DEEP, "400 Bad Request"),
        (&UNROUTED_DEEP, "400 Bad Request"),
        ("[]", "422 Unprocessable Entity"),
    ] {
        assert_eq!(deliver(&app, body).await, ok(expected));
    }
    assert_eq!(respond(&app, signed(BODY)).await, ok(VIDEO));
}

/// Attack: reach the handlers of an unprotected router.
#[tokio::test]
async fn without_the_layer_no_handler_is_called_and_the_response_is_500() {
    let events = EventRouter::new()
        .on_kind(EventKind::VideoProcessed, never)
        .fallback(never);
    for events in [events, EventRouter::new()] {
        let open = Router::new().route("/webhooks/soundhash", post(events));
        assert_eq!(
            respond(&open, signed(BODY)).await,
            (500, "Internal server error".into())
        );
    }
}

#[tokio::test]
async fn a_handler_for_another_payload_is_unprocessable() {
    let wrong = |_: Payload<MatchFound>| async {};
    let app = app(EventRouter::new().on_kind(EventKind::VideoProcessed, wrong));
    let expected = "event is video.processed and not match.found";
    assert_eq!(
        respond(&app, signed(BODY)).await,
        (422, expected.to_owned())
    );
}

#[test]
#[should_panic(expected = "video.processed already has a handler")]
fn a_second_handler_for_a_type_panics() {
    let events: EventRouter = EventRouter::new().on(video);
    let _ = events.on(video);
}

#[test]
#[should_panic(expected = "the router already has a fallback")]
fn a_second_fallback_panics() {
    let events: EventRouter = EventRouter::new().fallback(never);
    let _ = events.fallback(never);
}

// ---- as part of an application

type Seen = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Default)]
struct App {
    seen: Seen,
}

impl FromRef<App> for Seen {
    fn from_ref(app: &App) -> Self {
        app.seen.clone()
    }
}

async fn remember(Payload(video): Payload<VideoProcessed>, State(seen): State<Seen>, body: String) {
    assert_eq!(body.as_bytes(), BODY);
    seen.lock().unwrap().extend(video.title);
}

async fn whole(State(app): State<App>, event: Event) {
    let mut seen = app.seen.lock().unwrap();
    seen.push(event.event_type().to_owned());
}

fn stateful() -> EventRouter<App> {
    EventRouter::new().on(remember).fallback(whole)
}

#[tokio::test]
async fn handlers_take_the_state_and_the_body_in_any_router() {
    let state = App::default();
    let routers: [Router; 4] = [
        Router::new()
            .route("/webhooks/soundhash", post(stateful()))
            .with_state(state.clone()),
        Router::new().route(
            "/webhooks/soundhash",
            post_service(stateful().with_state(state.clone())),
        ),
        Router::new().nest(
            "/webhooks",
            Router::new()
                .route("/soundhash", post(stateful()))
                .with_state(state.clone()),
        ),
        Router::new().fallback_service(stateful().with_state(state.clone())),
    ];
    for router in routers {
        let app = router.layer(SoundHashWebhookLayer::new(SECRET));
        assert_eq!(respond(&app, signed(BODY)).await, ok(""));
        assert_eq!(deliver(&app, UNROUTED).await, ok(""));
        let seen = std::mem::take(&mut *state.seen.lock().unwrap());
        assert_eq!(seen, ["Test Video", "match.found"]);
    }
}

/// Handlers with middleware, services, and other event routers can be handlers, too.
#[tokio::test]
async fn any_handler_of_axum_is_a_handler() {
    let teapot = |request, next: Next| async move {
        let mut response = next.run(request).await;
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let service = service_fn(|request: Request<Body>| async move {
        let delivery = request.extensions().get::<Delivery>().unwrap();
        let length = delivery.body().len().to_string();
        Ok::<_, std::convert::Infallible>(axum::response::Response::new(Body::from(length)))
    });
    let inner = EventRouter::new().on_kind(EventKind::MatchFound, || async { "inner" });
    let app = app(EventRouter::new()
        .on(video.layer(middleware::from_fn(teapot)))
        .on_kind(EventKind::QuotaWarning, post_service(service))
        .fallback(inner));
    let (status, text) = respond(&app, signed(BODY)).await;
    assert_eq!((status, &*text), (418, VIDEO));
    assert_eq!(deliver(&app, UNROUTED).await, ok("inner"));
    assert_eq!(deliver(&app, UNKNOWN).await, ok(""));
    let request = SignedRequest::new(SECRET)
        .sample(EventKind::QuotaWarning, Sender::Portal)
        .build();
    let (_, length) = respond(&app, request).await;
    assert!(length.parse::<usize>().unwrap() > 100, "{length}");
}

#[tokio::test]
async fn a_clone_is_independent() {
    let events: EventRouter = EventRouter::default();
    let more = events.clone().on(video);
    let shown = "EventRouter { on: [], fallback: false }";
    assert_eq!(format!("{events:?}"), shown);
    let shown = "EventRouter { on: [VideoProcessed], fallback: true }";
    assert_eq!(format!("{:?}", more.clone().fallback(never)), shown);
    assert_eq!(respond(&app(events), signed(BODY)).await, ok(""));
    let response = respond(&app(more), signed(BODY)).await;
    assert_eq!(response, ok(VIDEO));
}

// ---- the example

#[tokio::test]
async fn the_example_calls_a_handler_for_each_type() {
    let receiver = Receiver::of("router", &[]);
    let client = reqwest::Client::new();
    for (body, line) in [
        (
            r#"{"event":"video.processed","data":{"video_id":7,"title":"A song"}}"#,
            r#"processed: Some("A song")"#,
        ),
        (
            r#"{"type":"match.found","data":{"query_video_id":1,"matched_video_id":7,
               "confidence":0.9,"segment_start":30.5,"segment_end":45}}"#,
            r#"found: "A song" at 30.5 s"#,
        ),
        (UNKNOWN, r#"{"type":"video.remixed","data":{}}"#),
        (MISFIT, MISFIT),
        (
            BROKEN,
            r#"cannot parse b"{\"event\":\"video.processed\",\"data\":{\"duration\":1.}}": body is not JSON: invalid number at line 1 column 49"#,
        ),
    ] {
        let request = client.post(receiver.url()).body(body);
        let request = request.header(SIGNATURE_HEADER, sign(body.as_bytes()));
        assert_eq!(request.send().await.unwrap().status(), 200, "{body}");
        assert_eq!(receiver.line(), line);
    }
    let forged = client.post(receiver.url()).body(BODY);
    let forged = forged.header(SIGNATURE_HEADER, sign(b"another"));
    assert_eq!(forged.send().await.unwrap().status(), 401);
}
