//! Testing your handler: in-process and from the shell.
//!
//! In-process tests do not need a network. They need the feature `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! soundhash-webhook = { version = "0.1", features = ["testing"] }
//! tower = { version = "0.5", features = ["util"] }
//! ```
//!
//! # Signed requests
//!
//! A `testing::SignedRequest` is a request as SoundHash sends it. Give it to the whole application, so
//! that the test also notices a missing or misplaced layer:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventData, EventKind, SoundHashWebhookLayer,
//!     Sender, testing::{SignedRequest, sample},
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
//! // Start from a sample and change the fields that matter.
//! let mut event = sample(EventKind::VideoProcessed, Sender::Portal);
//! event["data"]["title"] = "A song".into();
//! let request = SignedRequest::new("whsec_test")
//!     .event(Sender::Portal, &event)
//!     .build();
//! let response = app(titles.clone()).oneshot(request).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(*titles.lock().unwrap(), ["A song"]);
//! # }
//! ```
//!
//! `SignedRequest::uri` sets the path, for applications with several endpoints.
//! `SignedRequest::header` adds a header, for example one that a proxy would add.
//!
//! # Recorded deliveries
//!
//! `SignedRequest::from_capture` reads a delivery that you saved in the inspector, or any other
//! complete HTTP/1.1 request. It signs the request again, so the signature in the file does not
//! matter:
//!
//! ```
//! use soundhash_webhook::testing::SignedRequest;
//!
//! let capture = b"POST /hooks HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"event\": \"a\", \"data\": {}}";
//! let request = SignedRequest::from_capture("whsec_test", capture).unwrap().build();
//! assert_eq!(request.uri().path(), "/hooks");
//! ```
//!
//! # Idempotency
//!
//! A `sample` is always the same old event. An
//! [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) treats the second copy as a
//! duplicate. With a `max_age`, it answers 401 even to the first one. Use `fresh_sample` for a new
//! event, and clone the request to imitate a retry by SoundHash:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventKind, SoundHashWebhookLayer,
//!     idempotency::{IdempotencyLayer, MemoryStore},
//!     Sender, testing::SignedRequest,
//! };
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let layers = ServiceBuilder::new()
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .layer(IdempotencyLayer::new(MemoryStore::new(100)).max_age(Duration::from_secs(15 * 60)));
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
//!     .layer(layers);
//!
//! let request = SignedRequest::new("whsec_test");
//! let new = request.clone().fresh_sample(EventKind::MatchFound, Sender::Portal);
//! let first = app.clone().oneshot(new.clone().build()).await.unwrap();
//! assert_eq!(first.status(), StatusCode::OK);
//! assert!(!first.headers().contains_key("idempotent-replayed"));
//! // The handler does not run for the retry.
//! let retry = app.clone().oneshot(new.build()).await.unwrap();
//! assert_eq!(retry.status(), StatusCode::OK);
//! assert_eq!(retry.headers()["idempotent-replayed"], "true");
//!
//! let recorded = request.sample(EventKind::MatchFound, Sender::Portal);
//! let rejected = app.oneshot(recorded.build()).await.unwrap();
//! assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```
//!
//! # Everything that can arrive
//!
//! SoundHash has two senders, and each type of event can come from either of them. A handler can
//! also receive a type that this version does not know, any type with any payload from the test
//! button, and JSON that only Python writes, for example with `NaN`. This test sends all of them:
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventKind, SoundHashWebhookLayer,
//!     Sender, testing::SignedRequest,
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
//!     for sender in [Sender::Portal, Sender::Dispatcher] {
//!         assert_eq!(status(request.clone().sample(kind, sender)).await, 200, "{kind}");
//!     }
//! }
//! let new_type = r#"{"event": "video.remixed", "data": {}}"#;
//! assert_eq!(status(request.clone().body(new_type)).await, 200);
//! let button = r#"{"type": "match.found", "data": {"test": true}, "resource_type": "test"}"#;
//! assert_eq!(status(request.clone().body(button)).await, 200);
//! let python = r#"{"event": "quota.warning", "data": {"percentage": NaN}}"#;
//! assert_eq!(status(request.clone().body(python)).await, 200);
//!
//! // Authentic, but not an event. Take `Result<Event, EventRejection>` to handle these yourself.
//! assert_eq!(status(request.clone().body("hello")).await, 400);
//! assert_eq!(status(request.clone().body("{}")).await, 422);
//!
//! // Not authentic: signed with another secret, or not signed.
//! assert_eq!(status(SignedRequest::new("whsec_guessed")).await, 401);
//! let unsigned = Request::post("/webhooks/soundhash").body(Body::from(new_type)).unwrap();
//! assert_eq!(app.clone().oneshot(unsigned).await.unwrap().status(), 401);
//! # }
//! ```
//!
//! # Hostile requests
//!
//! A test that sends only correct requests cannot detect a route without the layer. Add a test that
//! sends `testing::hostile_requests`. Some of these requests must be rejected, and others must be
//! accepted. Send them to the whole application, once for each path that receives webhooks:
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer, testing::hostile_requests};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let secret = Secret::new("whsec_test");
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
//!     .layer(SoundHashWebhookLayer::new(&secret));
//!
//! for hostile in hostile_requests(&secret) {
//!     let request = hostile.request("/webhooks/soundhash");
//!     let response = app.clone().oneshot(request).await.unwrap();
//!     hostile.check(&response).unwrap();
//! }
//! # }
//! ```
//!
//! The test finds these mistakes, and its message says how to fix each of them:
//!
//! - A route without the layer, with any kind of handler.
//! - A middleware outside the layer that rewrites or decodes the body.
//! - A middleware outside the layer that reads the whole body and passes it on.
//! - A middleware or proxy outside the layer that changes the signature header.
//! - A body limit outside the layer that answers before the layer does.
//! - A body limit inside the layer that is smaller than `max_body_size`.
//! - A handler or `Content-Type` check that rejects authentic deliveries.
//! - A `GET` route behind the layer, to which an attacker can replay a recorded delivery.
//!
//! If you changed the layer's `max_body_size`, pass the same value with
//! `hostile_requests(&secret).max_body_size(256 * 1024)`. The example `hostile` shows the report for an
//! application with two mistakes.
//!
//! # Without HTTP
//!
//! To test what your code does with an event, write a function that takes an event. Every payload
//! implements `Default`, and [`Event::new`](crate::Event::new) creates an event from a payload:
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
//! Even in tests, only the layer can create a [`Delivery`](crate::Delivery), because a `Delivery`
//! proves that a signature was verified. Send a signed request instead.
//!
//! # From the shell
//!
//! The command `soundhash-webhook` sends signed events to a running application. It exits with 0 only
//! if every answer was 2xx:
//!
//! ```console
//! $ cargo install --path crates/cli        # in a clone of the repository
//! $ export SOUNDHASH_WEBHOOK_SECRET=whsec_test
//! $ soundhash-webhook send                                    # one event
//! $ soundhash-webhook send --all                              # every type, from both senders
//! $ soundhash-webhook send --event match.found --envelope portal
//! $ soundhash-webhook send --event made.up --data '{"a": 1}'
//! $ soundhash-webhook send --forge                            # must be rejected
//! ```
//!
//! The default address is `http://127.0.0.1:3000/webhooks/soundhash`. Use `--url` for another one.
//! `soundhash-webhook listen` is the opposite: it receives and verifies deliveries, and prints one
//! line for each.
//!
//! ---
//!
//! Previous: [What a handler takes](super::handlers). Next:
//! [Where to put the layer](super::placement). All [guides](super).
