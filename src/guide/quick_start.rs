//! Quick start: from an empty folder to a first delivery.
//!
//! # 1. A project
//!
//! ```console
//! $ cargo new hooks && cd hooks
//! $ cargo add axum soundhash-webhook
//! $ cargo add tokio --features macros,net,rt-multi-thread
//! $ cargo add --dev soundhash-webhook --features testing
//! $ cargo add --dev tower --features util
//! ```
//!
//! # 2. The receiver
//!
//! This is all of `src/main.rs`:
//!
//! ```no_run
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, EventData, Secret, SoundHashWebhookLayer};
//!
//! async fn receive(event: Event) -> StatusCode {
//!     match event.data {
//!         EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
//!         EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
//!         // SoundHash can add types, and its test button sends anything: both are fine.
//!         other => println!("not for us: {}", other.event_type()),
//!     }
//!     StatusCode::OK
//! }
//!
//! fn app(secret: Secret) -> Router {
//!     Router::new()
//!         .route("/webhooks/soundhash", post(receive))
//!         .layer(SoundHashWebhookLayer::new(secret))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app(secret)).await?;
//!     Ok(())
//! }
//! ```
//!
//! The layer comes *after* the route: it protects what the router has by then. Answer 2xx for
//! what you have dealt with, and 5xx for what SoundHash should send again.
//!
//! # 3. Try it
//!
//! Start it with a secret that is for trying only:
//!
//! ```console
//! $ SOUNDHASH_WEBHOOK_SECRET=whsec_test cargo run
//! ```
//!
//! and from another shell, send it an event as SoundHash does:
//!
//! ```console
//! $ body='{"event": "video.processed", "data": {"title": "A song"}}'
//! $ signature=$(printf %s "$body" | openssl dgst -sha256 -hmac whsec_test -r | cut -d ' ' -f 1)
//! $ curl -i http://127.0.0.1:3000/webhooks/soundhash -H "X-Webhook-Signature: $signature" --data-binary "$body"
//! ```
//!
//! It answers 200 and prints `processed Some("A song")`. Change a letter of the body, and it
//! answers 401 and prints nothing.
//!
//! # 4. Test it
//!
//! At the end of `src/main.rs`:
//!
//! ```test_harness
//! # use axum::{Router, routing::post};
//! # use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer};
//! # fn app(secret: Secret) -> Router {
//! #     Router::new()
//! #         .route("/webhooks/soundhash", post(|_: Event| async {}))
//! #         .layer(SoundHashWebhookLayer::new(secret))
//! # }
//! #[cfg(test)]
//! mod tests {
//!     use axum::http::StatusCode;
//!     use soundhash_webhook::{Secret, testing::SignedRequest};
//!     use tower::ServiceExt;
//!
//!     #[tokio::test]
//!     async fn a_delivery_is_accepted_and_a_forgery_is_not() {
//!         let app = super::app(Secret::new("whsec_test"));
//!         let signed = SignedRequest::new("whsec_test").build();
//!         let response = app.clone().oneshot(signed).await.unwrap();
//!         assert_eq!(response.status(), StatusCode::OK);
//!
//!         let forged = SignedRequest::new("whsec_guessed").build();
//!         let response = app.oneshot(forged).await.unwrap();
//!         assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//!     }
//! }
//! ```
//!
//! More of that is in [Testing your handler](super::testing_your_handler).
//!
//! # 5. Tell SoundHash
//!
//! Make a secret, and give it to the receiver and to SoundHash; `SOUNDHASH_WEBHOOK_SECRET` must
//! have exactly what SoundHash has, a prefix included:
//!
//! ```console
//! $ openssl rand -hex 32
//! ```
//!
//! An endpoint is registered in SoundHash's dashboard, or through its REST API:
//! `soundhash-webhook endpoints create` does the latter. The dashboard's "test this webhook"
//! button then shows whether everything fits. If it answers 401, see
//! [Troubleshooting](super::troubleshooting); before real events come, see
//! [Going live](super::going_live).
