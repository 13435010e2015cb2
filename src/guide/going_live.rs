//! Going live: what to set, what to put in front, and what to watch.
//!
//! # Secrets
//!
//! Read the secret from the environment, and during a rotation the previous one too:
//!
//! ```
//! use soundhash_webhook::{Secret, SecretError, SecretErrorKind, SoundHashWebhookLayer};
//!
//! fn layer() -> Result<SoundHashWebhookLayer, SecretError> {
//!     let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
//!     let layer = SoundHashWebhookLayer::new(secret);
//!     match Secret::from_env("SOUNDHASH_WEBHOOK_PREVIOUS_SECRET") {
//!         Ok(previous) => Ok(layer.previous_secret(previous)),
//!         Err(error) => match error.kind() {
//!             // No rotation. A compose file passes an unset variable as an empty one.
//!             SecretErrorKind::NotSet | SecretErrorKind::Empty => Ok(layer),
//!             // `.ok()` would ignore a variable that is set and wrong.
//!             _ => Err(error),
//!         },
//!     }
//! }
//! # assert_eq!(layer().unwrap_err().variable(), Some("SOUNDHASH_WEBHOOK_SECRET"));
//! ```
//!
//! [Security](super::security#secrets) says when the previous secret can be removed, and how to rotate
//! through SoundHash's API. `RotatingSecrets` changes secrets without a restart, as the example
//! `rotation` shows.
//!
//! # Limits
//!
//! - [`max_body_size`](crate::SoundHashWebhookLayer::max_body_size), 1 MiB: a larger event is lost. Most
//!   events are smaller than 1 KB, but lists of matches or fingerprints can be long.
//! - [`body_timeout`](crate::SoundHashWebhookLayer::body_timeout), 10 s: how long a body may take to
//!   arrive. It is part of the sender's 30 s.
//! - [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout), 5 s: how long a
//!   [`SecretProvider`](crate::SecretProvider) may take.
//! - [`max_buffered`](crate::SoundHashWebhookLayer::max_buffered), 32 MiB: what all unfinished bodies of
//!   the process hold together.
//!
//! # Connections and request heads
//!
//! The layer sees a request when its head is complete. Before that, `axum::serve` limits neither the
//! time for a head, nor the number of connections, nor hyper's read buffers. Leave these limits to a
//! proxy, or serve with an accept loop that has them. `examples/common/server.rs` is one, which the
//! example `receiver` uses:
//!
//! - A connection that sends no complete head within 10 s is closed. hyper-util has no time-out until
//!   it knows the version of HTTP, so the loop closes silent connections itself.
//! - A connection accepts requests for a minute. The requests in progress are then answered, and the
//!   connection is closed.
//! - The number of connections, the read buffers, and the streams and resets of HTTP/2 are limited.
//! - The loop shuts down gracefully: it answers the requests in progress, within 30 s.
//!
//! # Timeouts
//!
//! SoundHash waits 30 s for an answer. After a failure it retries after 60, 120 and 240 s, and then
//! drops the event. Seven minutes is the best case: the retries wait in the memory of SoundHash's
//! process, so a restart there loses them.
//!
//! - Work that can take more than a few seconds belongs in a queue. Answer 2xx when the event is
//!   *stored* there: see [Past one machine](super::past_one_machine).
//! - Give the handler a deadline too, so that you notice when it hangs. Dropping a future
//!   cancels it, so the handler must tolerate being cut off and run again.
//! - A receiver that is unreachable for longer than the retries loses events.
//!
//! ```
//! use std::{future::pending, time::Duration};
//!
//! use axum::{Router, http::StatusCode, routing::post};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer, testing::SignedRequest};
//! use tokio::time::timeout;
//! use tower::ServiceExt;
//!
//! async fn work(_: Event) {
//!     pending().await
//! }
//!
//! async fn receive(event: Event) -> StatusCode {
//!     match timeout(Duration::from_secs(15), work(event)).await {
//!         Ok(()) => StatusCode::OK,
//!         // SoundHash sends the event again.
//!         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(receive))
//!     .layer(SoundHashWebhookLayer::new("whsec_test").body_timeout(Duration::from_secs(5)));
//! let response = app.oneshot(SignedRequest::new("whsec_test").build()).await.unwrap();
//! assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # }
//! ```
//!
//! # Clocks
//!
//! An [`IdempotencyLayer`](crate::idempotency) with `max_age` compares the event's time with the clock
//! of the machine. Synchronise clocks with NTP. A clock that is off by more than `clock_skew` makes the
//! layer reject authentic deliveries with 401, which it logs at `warn`.
//!
//! # Shutdown
//!
//! With axum's `with_graceful_shutdown`, the server accepts no new connections and answers the requests
//! in flight, *however long they take*. Bodies have their `body_timeout`. Give the handler a deadline
//! too, and let your process manager wait for longer than both together. SoundHash retries a delivery
//! that is cut off all the same.
//!
//! # Proxies
//!
//! The signature covers the body's bytes. A proxy may end TLS, add headers, change the path, and send
//! the body in other pieces. It must not change a byte: no decompression, no JSON parsed and written
//! again, no line breaks "corrected". If a gateway delivers the body as text or base64, undo that
//! outside the layer.
//!
//! - Its body limit must not be below `max_body_size`. Otherwise its own 413 answers.
//! - Its timeout for an answer must not be below your handler's deadline.
//! - A proxy that buffers requests, as nginx does by default, keeps slow senders away from the layer.
//! - A proxy that changes the path changes what a provider sees that chooses secrets by path.
//! - `X-Webhook-Signature` must arrive, once.
//! - SoundHash does not log in, so the route must be reachable without credentials. The signature
//!   protects it.
//!
//! # Health checks
//!
//! Health checks carry no signature. Add their route *after* the layer, which then does not protect
//! it:
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::{get, post}};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .route_layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .route("/healthz", get(|| async { "ok" }));
//!
//! let check = Request::get("/healthz").body(Body::empty()).unwrap();
//! assert_eq!(app.clone().oneshot(check).await.unwrap().status(), StatusCode::OK);
//! let unsigned = Request::post("/webhooks/soundhash").body(Body::empty()).unwrap();
//! assert_eq!(app.oneshot(unsigned).await.unwrap().status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```
//!
//! To check that a *delivery* would be accepted, send a signed one from outside every few minutes, of a
//! type that your handler ignores.
//!
//! # Alerts
//!
//! [Logs and metrics](super::telemetry) lists every line and metric. Alert on these:
//!
//! - **No accepted delivery for longer than usual.** Most people lack this alert, and it is the most
//!   useful one. It covers a wrong secret, a proxy that changes bodies, an expired certificate, and an
//!   endpoint that was disabled.
//! - `error`, `no SoundHashWebhookLayer around this handler`: a route is not protected and answers 500.
//! - `error`, secret look-up failed: deliveries are answered with 503, and SoundHash drops them after
//!   at most seven minutes.
//! - `warn`, body is not an event: the delivery is authentic and was answered with 400 or 422. Keep the
//!   body, and look at it.
//! - `warn`, event not recognized: a new type or a new shape. Look at it within days.
//!
//! A rise of `wrong_signature` while accepted deliveries fall means a wrong secret or a proxy that
//! changes bodies. While accepted deliveries continue, it means an attacker. To count rejections
//! yourself, look for a [`Rejection`](crate::Rejection) in the response's extensions, in a layer
//! outside:
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use axum::{Router, middleware, response::Response, routing::post};
//! use soundhash_webhook::{
//!     Event, Rejection, RejectionKind, SoundHashWebhookLayer, testing::SignedRequest,
//! };
//! use tower::ServiceExt;
//!
//! static WRONG_SIGNATURES: AtomicU64 = AtomicU64::new(0);
//!
//! async fn count(response: Response) -> Response {
//!     let rejection = response.extensions().get::<Rejection>();
//!     if rejection.is_some_and(|it| it.kind() == RejectionKind::WrongSignature) {
//!         WRONG_SIGNATURES.fetch_add(1, Ordering::Relaxed);
//!     }
//!     response
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .layer(middleware::map_response(count));
//! app.clone().oneshot(SignedRequest::new("whsec_test").build()).await.unwrap();
//! app.oneshot(SignedRequest::new("whsec_guessed").build()).await.unwrap();
//! assert_eq!(WRONG_SIGNATURES.load(Ordering::Relaxed), 1);
//! # }
//! ```
//!
//! # Several instances
//!
//! Verification shares nothing, so any number of instances can receive behind one address.
//!
//! - **Duplicates** can reach different instances. Use a store that all of them share: see
//!   [Past one machine](super::past_one_machine).
//! - **Rotation**: every instance must accept the new secret before SoundHash signs with it, and must
//!   keep the previous one until no instance needs it.
//! - **Limits** apply to each process. All instances together can hold `max_buffered` times their
//!   number.
//! - **Releases**: stop the old instance when the new one answers. SoundHash retries a delivery that
//!   arrives in between after a minute.
//!
//! ---
//!
//! Previous: [Security](super::security). Next: [Logs and metrics](super::telemetry). All
//! [guides](super).
