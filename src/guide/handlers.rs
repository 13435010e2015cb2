//! What a handler takes: all events, one type, or a handler for each type.
//!
//! | you write | it is for | another type is answered |
//! | --- | --- | --- |
//! | [`Event`](crate::Event) and a `match` | most applications, and the [quick start](super::quick_start) | as you like |
//! | [`Payload`](crate::Payload) | an endpoint that is registered for one type | 422 |
//! | `EventRouter` (feature `router`) | several types whose handlers take different things | 200, or by a fallback |
//! | `Result<Event, EventRejection>` and [`Delivery`](crate::Delivery) | losing nothing, not even what cannot be read | as you like |
//!
//! All of them stand behind a [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), and answer
//! 500 without one. Any other extractor of axum can stand beside them: the body is still there.
//!
//! # A handler for each type
//!
//! A `match` gives all its arms the same arguments. Where one needs the database, the next one a
//! mailer and a third the raw bytes, each can have a handler of its own:
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
//!     testing::{Sender, SignedRequest},
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
//!     // Not 2xx: SoundHash sends the event again.
//!     StatusCode::SERVICE_UNAVAILABLE
//! }
//!
//! /// What nobody else takes: other types, and what cannot be understood today.
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
//! // Each type once, from both senders. A handler that takes the payload of another type than
//! // it stands for would answer 422.
//! for &kind in EventKind::ALL {
//!     for envelope in [Sender::Portal, Sender::Dispatcher] {
//!         let request = SignedRequest::new("whsec_test").sample(kind, envelope).build();
//!         let response = app.clone().oneshot(request).await.unwrap();
//!         let expected = if kind == EventKind::QuotaWarning { 503 } else { 200 };
//!         assert_eq!(response.status(), expected, "{kind}");
//!     }
//! }
//! assert_eq!(titles.0.lock().unwrap().len(), 2);
//! # }
//! ```
//!
//! Without a fallback, events of other types are answered with 200: to SoundHash, an event that
//! one does not care for is delivered. So is one of a type that has a handler where the payload
//! does not fit it, above all those of the "test this webhook" button. It is logged at `warn`;
//! whoever wants to keep it sets a fallback, as here.
//!
//! [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) stands outside, around the whole
//! router, as around any handler.
