//! What a handler takes: every event, one type, or one handler per type.
//!
//! - **[`Event`](crate::Event) and a `match`**, as in the [quick start](super::quick_start), fit
//!   most applications.
//! - **[`Payload`](crate::Payload)** takes the payload of one type. Use it for an endpoint that is
//!   registered for one type only. It answers 422 to other types.
//! - **`EventRouter`** (feature `router`) calls one handler per type. Use it when the handlers need
//!   different arguments. It answers 200 to other types, or calls a fallback.
//! - **`Result<Event, EventRejection>` and [`Delivery`](crate::Delivery)** let the handler decide what
//!   to do with a body that is not an event.
//!
//! All of them need a [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) around the route. If
//! the layer is missing, they answer 500. Other axum extractors work next to them, because the
//! verified body is still in the request.
//!
//! # One handler per type
//!
//! All arms of a `match` share the same arguments. If one type needs the database, another a mailer
//! and a third the raw bytes, give each its own handler:
//!
//! ```toml
//! [dependencies]
//! soundhash-webhook = { version = "0.1", features = ["router"] }
//! ```
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use soundhash_webhook::{
//!     Delivery, EventKind, EventRouter, Payload, QuotaWarning, SoundHashWebhookLayer,
//!     VideoProcessed,
//!     Sender, testing::SignedRequest,
//! };
//! use tower::ServiceExt;
//!
//! #[derive(Clone, Default)]
//! struct Titles(Arc<Mutex<Vec<String>>>);
//!
//! async fn processed(State(titles): State<Titles>, Payload(video): Payload<VideoProcessed>) {
//!     titles.0.lock().unwrap().extend(video.title);
//! }
//!
//! async fn warn(Payload(quota): Payload<QuotaWarning>) -> StatusCode {
//!     println!("{} of {}", quota.used, quota.limit);
//!     // SoundHash retries after every answer that is not 2xx.
//!     StatusCode::SERVICE_UNAVAILABLE
//! }
//!
//! /// Takes every other type, and payloads that do not fit their type.
//! async fn keep(delivery: Delivery) {
//!     println!("{} bytes", delivery.body().len());
//! }
//!
//! fn app(titles: Titles) -> Router {
//!     let events = EventRouter::new()
//!         .on(EventKind::VideoProcessed, processed)
//!         .on(EventKind::QuotaWarning, warn)
//!         .fallback(keep);
//!     Router::new()
//!         .route("/webhooks/soundhash", post(events))
//!         .layer(SoundHashWebhookLayer::new("whsec_test"))
//!         .with_state(titles)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let titles = Titles::default();
//! let app = app(titles.clone());
//! // Send each type from both senders. A handler registered for the wrong type would answer 422.
//! for &kind in EventKind::ALL {
//!     for sender in [Sender::Portal, Sender::Dispatcher] {
//!         let request = SignedRequest::new("whsec_test").sample(kind, sender).build();
//!         let response = app.clone().oneshot(request).await.unwrap();
//!         let expected = if kind == EventKind::QuotaWarning { 503 } else { 200 };
//!         assert_eq!(response.status(), expected, "{kind}");
//!     }
//! }
//! assert_eq!(titles.0.lock().unwrap().len(), 2);
//! # }
//! ```
//!
//! Without a fallback, an `EventRouter` answers 200 to events without a handler. SoundHash would
//! only retry after any other answer. The router also answers 200 if the type has a handler but the
//! payload does not fit the type. The "test this webhook" button can send such a payload. To keep
//! these events, set a fallback as above.
//!
//! Put an [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) around the whole `EventRouter`,
//! as around any other handler.
//!
//! ---
//!
//! Previous: [Quick start](super::quick_start). Next:
//! [Testing your handler](super::testing_your_handler). All [guides](super).
