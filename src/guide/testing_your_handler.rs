//! Testing your handler: in-process and from the shell.
//!
//! The in-process tests need the feature `testing`, and no network:
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
//!     testing::{Sender, SignedRequest, sample},
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
//! A delivery that was saved from the inspector, or written down as a whole HTTP request, becomes a
//! test in one line. The request is signed again, so the file needs no valid signature:
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
//! A `sample` is always the same old event. Behind an
//! [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) its second copy is a duplicate, and with
//! `max_age` it gets 401 like any recorded delivery. Use `fresh_sample` for a new event, and clone the
//! request to send SoundHash's retry:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventKind, SoundHashWebhookLayer,
//!     idempotency::{IdempotencyLayer, MemoryStore},
//!     testing::{Sender, SignedRequest},
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
//! SoundHash has two senders, and each type of event can come from either. A handler also meets types
//! that this version does not know, the test button, which sends any type with any payload, and JSON
//! as Python writes it, with `NaN` for example.
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Event, EventKind, SoundHashWebhookLayer,
//!     testing::{Sender, SignedRequest},
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
//! A test that sends correct requests does not notice a route without the layer, or a middleware on
//! the wrong side of it. `testing::hostile_requests` makes requests that must be rejected and requests
//! that must not be. Send them to the whole application, once for each path that receives webhooks:
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
//! They find these mistakes, and the failure says how to fix each:
//!
//! - A route without the layer, whatever its handler takes.
//! - A middleware outside the layer that rewrites or decodes the body.
//! - A middleware outside that reads the body and puts it back.
//! - A middleware or proxy outside that repairs the signature header.
//! - A body limit outside that answers before the layer does.
//! - A limit inside that is smaller than `max_body_size`.
//! - A handler or `Content-Type` check that rejects authentic deliveries.
//! - A `GET` route behind an idempotency layer, where a replayed delivery would use up an event.
//!
//! For a layer with another `max_body_size` than the default, use
//! `hostile_requests(&secret).max_body_size(256 * 1024)`. The example `hostile` shows the report for an
//! application with two mistakes.
//!
//! # Without HTTP
//!
//! To test what a handler does with an event, write a function that takes one. Every payload
//! implements `Default`, and [`Event::new`](crate::Event::new) makes an event of a payload:
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
//! Only the layer can make a [`Delivery`](crate::Delivery), in tests too, because a `Delivery` proves
//! that a signature was verified. Send a signed request instead.
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
//! It sends to `http://127.0.0.1:3000/webhooks/soundhash` unless `--url` says otherwise.
//! `soundhash-webhook listen` is the other side: it receives, verifies, and prints one line per
//! delivery.
//!
//! ---
//!
//! Previous: [What a handler takes](super::handlers). Next:
//! [Where to put the layer](super::placement). All [guides](super).
