//! Quick start: from an empty folder to a first delivery.
//!
//! # 1. Create a project
//!
//! ```console
//! $ cargo new hooks && cd hooks
//! $ cargo add axum soundhash-webhook tracing-subscriber
//! $ cargo add tokio --features macros,net,rt-multi-thread,signal
//! $ cargo add --dev soundhash-webhook --features testing
//! $ cargo add --dev tower --features util
//! ```
//!
//! # 2. Write the receiver
//!
//! This is the complete `src/main.rs`:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{BoxError, Event, EventData, Secret, SoundHashWebhookLayer};
//! use tokio::{net::TcpListener, signal};
//!
//! async fn receive(event: Event) -> StatusCode {
//!     match event.data {
//!         EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
//!         EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
//!         // SoundHash can add types at any time, and its test button sends any type.
//!         other => println!("ignored {}", other.event_type()),
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
//! async fn run() -> Result<(), BoxError> {
//!     let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
//!     let listener = TcpListener::bind("127.0.0.1:3000").await?;
//!     println!("listening on http://{}", listener.local_addr()?);
//!     axum::serve(listener, app(secret))
//!         .with_graceful_shutdown(async {
//!             // If the handler cannot be installed, Ctrl-C ends the process at once.
//!             let _ = signal::ctrl_c().await;
//!         })
//!         .await?;
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     // Shows why a request was rejected, among other things.
//!     tracing_subscriber::fmt::init();
//!     match run().await {
//!         Ok(()) => ExitCode::SUCCESS,
//!         Err(error) => {
//!             eprintln!("{error}");
//!             ExitCode::FAILURE
//!         }
//!     }
//! }
//! ```
//!
//! Add the layer *after* the routes, because it protects only the routes that the router already
//! has. Answer 2xx when you have acted on the event, and 5xx when SoundHash should send it again.
//!
//! # 3. Send a delivery
//!
//! Start the receiver with a secret that you use only for testing:
//!
//! ```console
//! $ SOUNDHASH_WEBHOOK_SECRET=whsec_test cargo run
//! ```
//!
//! Sign an event in another shell and send it, as SoundHash does:
//!
//! ```console
//! $ body='{"event": "video.processed", "data": {"title": "A song"}}'
//! $ signature=$(printf %s "$body" | openssl dgst -sha256 -hmac whsec_test -r | cut -d ' ' -f 1)
//! $ curl -i http://127.0.0.1:3000/webhooks/soundhash -H "X-Webhook-Signature: $signature" --data-binary "$body"
//! ```
//!
//! The receiver answers 200 and prints `processed Some("A song")`. If you change one letter of the
//! body, the receiver answers 401 and logs a warning that says why.
//!
//! The command `soundhash-webhook` can send every type of event: see [Testing your
//! handler](super::testing_your_handler#from-the-shell).
//!
//! # 4. Test the receiver
//!
//! Add this to the end of `src/main.rs`:
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
//! # 5. Register the endpoint
//!
//! Register your public URL in SoundHash's dashboard, or with the command:
//!
//! ```console
//! $ soundhash-webhook endpoints create --url https://example.com/webhooks/soundhash --event video.processed,match.found
//! ```
//!
//! SoundHash's API generates the secret and shows it only once. On the developer portal, you choose
//! the secret yourself. Create it with a command such as `openssl rand -hex 32`. Set
//! `SOUNDHASH_WEBHOOK_SECRET` to exactly this secret, including a prefix such as `whsec_`.
//!
//! Press "test this webhook" in the dashboard. If the receiver answers 401, see
//! [Troubleshooting](super::troubleshooting). Before real events arrive, read
//! [Going live](super::going_live).
//!
//! ---
//!
//! Next: [What a handler takes](super::handlers). All [guides](super).
