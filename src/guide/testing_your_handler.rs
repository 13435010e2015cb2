//! Testing your handler: in-process, and from the shell.
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
//! // A field of your own, in a sample of the real thing.
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
//! Its method `uri` chooses the path, for applications with several endpoints, and `header` adds
//! what a proxy would.
//!
//! # Each event once
//!
//! A sample is always the same event, and an old one: behind an
//! [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) it is a duplicate the second time,
//! and with a `max_age` it gets 401, as recorded deliveries do. Tests of such an application send
//! what is new, and a clone of it for SoundHash's retry:
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
//! // The handler is not called again.
//! let retry = app.clone().oneshot(new.build()).await.unwrap();
//! assert_eq!(retry.status(), StatusCode::OK);
//! assert_eq!(retry.headers()["idempotent-replayed"], "true");
//!
//! let recorded = request.sample(EventKind::MatchFound, Sender::Portal);
//! let refused = app.oneshot(recorded.build()).await.unwrap();
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```
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
//!     for envelope in [Sender::Portal, Sender::Dispatcher] {
//!         assert_eq!(status(request.clone().sample(kind, envelope)).await, 200, "{kind}");
//!     }
//! }
//! let new = r#"{"event": "video.remixed", "data": {}}"#;
//! assert_eq!(status(request.clone().body(new)).await, 200);
//! let button = r#"{"type": "match.found", "data": {"test": true}, "resource_type": "test"}"#;
//! assert_eq!(status(request.clone().body(button)).await, 200);
//!
//! // Python writes `NaN`, which is not JSON. The event is repaired.
//! let python = r#"{"event": "quota.warning", "data": {"percentage": NaN}}"#;
//! assert_eq!(status(request.clone().body(python)).await, 200);
//!
//! // Authentic, but not an event. To keep these, take a `Result<Event, EventRejection>`.
//! assert_eq!(status(request.clone().body("hello")).await, 400);
//! assert_eq!(status(request.clone().body("{}")).await, 422);
//!
//! // Not authentic: signed with another secret, or with none.
//! assert_eq!(status(SignedRequest::new("whsec_guessed")).await, 401);
//! let unsigned = Request::post("/webhooks/soundhash").body(Body::from(new)).unwrap();
//! assert_eq!(app.clone().oneshot(unsigned).await.unwrap().status(), 401);
//! # }
//! ```
//!
//! # What a stranger sends
//!
//! A layer that is missing on a route, or stands on the wrong side of a middleware, is not seen in
//! a test that sends what is right. `testing::hostile_requests` makes 22 requests that must be
//! refused and 8 that must not be. Give them to the whole application, with all that it has
//! around the layer, and for each path that receives webhooks:
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
//! Where an answer is not the right one, the test fails with what that means and what to mend:
//!
//! ```text
//! no signature, and a body that waits for a 100: answered 401. Its body was read, and not by the
//! layer: something outside of it reads what nobody signed, before any limit holds. Put it inside,
//! where it gets the verified body.
//! ```
//!
//! | mistake | what finds it |
//! | --- | --- |
//! | no layer around the route, whatever the handler takes | all that is not authentic |
//! | a middleware outside that rewrites or decodes the body | all that is authentic |
//! | a middleware outside that reads the body and puts it back | a body that waits for `100 Continue` |
//! | a middleware or proxy outside that mends the header | prefixes, lists, and signatures that come twice |
//! | a limit of the body's size outside, which answers first | a terabyte that is declared without a signature |
//! | a limit inside that is smaller than `max_body_size` | the largest authentic delivery |
//! | a handler, or a check of `Content-Type`, that refuses what is authentic | new types, the test button, other types of content |
//!
//! A layer with another `max_body_size` than the default says so:
//! `hostile_requests(&secret).max_body_size(256 * 1024)`. The example `hostile` shows what is
//! found in an application with two mistakes.
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
//! The command `soundhash-webhook` (`cargo install --path crates/cli` in this crate's repository)
//! sends events to a running application, with the layouts of both senders. Its exit status is 0
//! only if every answer was 2xx:
//!
//! ```console
//! $ export SOUNDHASH_WEBHOOK_SECRET=whsec_test
//! $ soundhash-webhook send                            # one event
//! $ soundhash-webhook send --all                      # every type, both senders
//! $ soundhash-webhook send --event match.found --envelope portal
//! $ soundhash-webhook send --event made.up --data '{"a": 1}'
//! $ soundhash-webhook replay a.http a.http            # the same delivery twice
//! $ soundhash-webhook send --forge                    # has to be rejected
//! ```
//!
//! `--url` says where, `http://127.0.0.1:3000/webhooks/soundhash` by default.
