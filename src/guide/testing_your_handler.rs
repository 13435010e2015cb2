//! Testing your handler.
//!
//! All of this needs the feature `testing`, and none of it a network:
//!
//! ```toml
//! [dev-dependencies]
//! soundhash-webhook = { version = "0.1", features = ["testing"] }
//! tower = { version = "0.5", features = ["util"] }
//! ```
//!
//! # Through the layer
//!
//! A `testing::SignedRequest` is a request as SoundHash sends it. A test gives it to the whole
//! application, and so also finds a layer that is missing or at the wrong place:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventData, EventKind, SoundHashWebhookLayer,
//!     testing::{Envelope, SignedRequest, sample},
//! };
//! use tower::ServiceExt;
//!
//! type Titles = Arc<Mutex<Vec<String>>>;
//!
//! async fn receive(State(titles): State<Titles>, event: Event) -> StatusCode {
//!     if let EventData::VideoProcessed(video) = event.data {
//!         titles.lock().unwrap().extend(video.title);
//!     }
//!     StatusCode::OK
//! }
//!
//! fn app(titles: Titles) -> Router {
//!     Router::new()
//!         .route("/webhooks/soundhash", post(receive))
//!         .layer(SoundHashWebhookLayer::new("whsec_test"))
//!         .with_state(titles)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let titles = Titles::default();
//! // A field of your own, in a sample of the real thing.
//! let mut event = sample(EventKind::VideoProcessed, Envelope::Portal);
//! event["data"]["title"] = "A song".into();
//! let request = SignedRequest::new("whsec_test")
//!     .event(Envelope::Portal, &event)
//!     .build();
//! let response = app(titles.clone()).oneshot(request).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(*titles.lock().unwrap(), ["A song"]);
//! # }
//! ```
//!
//! Its method `uri` chooses the path, for applications with several endpoints, and `header` adds
//! what a proxy would.
//!
//! # Everything that may come
//!
//! SoundHash has two senders, and each type of event can come from either. What a handler must
//! also survive: a type that is not known yet, the test button, which sends any type with any
//! payload, and a body that Python took for JSON and Rust does not.
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventKind, SoundHashWebhookLayer,
//!     testing::{Envelope, SignedRequest},
//! };
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"));
//! let status = async |request: SignedRequest| {
//!     let response = app.clone().oneshot(request.build()).await.unwrap();
//!     response.status().as_u16()
//! };
//! let request = SignedRequest::new("whsec_test");
//!
//! for &kind in EventKind::ALL {
//!     for envelope in [Envelope::Portal, Envelope::Dispatcher] {
//!         assert_eq!(status(request.clone().sample(kind, envelope)).await, 200, "{kind}");
//!     }
//! }
//! let new = r#"{"event": "video.remixed", "data": {}}"#;
//! assert_eq!(status(request.clone().body(new)).await, 200);
//! let button = r#"{"type": "match.found", "data": {"test": true}, "resource_type": "test"}"#;
//! assert_eq!(status(request.clone().body(button)).await, 200);
//!
//! // Authentic, and no event. To keep these, take a `Result<Event, EventRejection>`.
//! let not_json = r#"{"event": "quota.warning", "data": {"percentage": NaN}}"#;
//! assert_eq!(status(request.clone().body(not_json)).await, 400);
//! assert_eq!(status(request.clone().body("{}")).await, 422);
//!
//! // Not authentic: signed with another secret, or with none.
//! assert_eq!(status(SignedRequest::new("whsec_guessed")).await, 401);
//! let unsigned = Request::post("/webhooks/soundhash").body(Body::from(new)).unwrap();
//! assert_eq!(app.clone().oneshot(unsigned).await.unwrap().status(), 401);
//! # }
//! ```
//!
//! # Without HTTP
//!
//! What a handler does with an event is easiest to test as a function that takes one. Payloads
//! have a `Default`, and [`Event::new`](crate::Event::new) makes an event of any:
//!
//! ```
//! use soundhash_webhook::{Event, EventData, VideoProcessed};
//!
//! fn headline(event: &Event) -> String {
//!     match &event.data {
//!         EventData::VideoProcessed(video) => {
//!             let title = video.title.as_deref().unwrap_or("a video");
//!             format!("{title} is ready")
//!         }
//!         other => other.event_type().to_owned(),
//!     }
//! }
//!
//! let mut video = VideoProcessed::default();
//! assert_eq!(headline(&Event::new(video.clone())), "a video is ready");
//! video.title = Some("A song".into());
//! assert_eq!(headline(&Event::new(video)), "A song is ready");
//! ```
//!
//! A [`Delivery`](crate::Delivery) cannot be made, in tests neither: it is the proof that a
//! signature was verified. Send a signed request instead.
//!
//! # From the shell
//!
//! The example `send`, in this crate's repository, sends events to an application that runs,
//! from both senders and with their layouts, and ends with 0 only if every answer was 2xx:
//!
//! ```console
//! $ export SOUNDHASH_WEBHOOK_SECRET=whsec_test
//! $ cargo run --example send                                     # one event
//! $ cargo run --example send -- --all                            # every type, both senders
//! $ cargo run --example send -- --event match.found --envelope portal
//! $ cargo run --example send -- --event made.up --custom-data '{"a": 1}'
//! $ cargo run --example send -- --delivery-id evt_1 --repeat 3   # the same event three times
//! $ cargo run --example send -- --forge                          # has to be refused
//! ```
//!
//! `--url` says where, `http://127.0.0.1:3000/webhooks/soundhash` by default.
