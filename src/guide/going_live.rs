//! Going live: what to set, what to put in front, and what to watch.
//!
//! # Secrets
//!
//! Read the secret from the environment. During a rotation, also read the previous one:
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
//! The defaults fit most applications:
//!
//! - [`max_body_size`](crate::SoundHashWebhookLayer::max_body_size) is 1 MiB. A larger event is
//!   rejected, and SoundHash drops it after its retries. Most events are smaller than 1 KB, but
//!   lists of matches or fingerprints can be long.
//! - [`body_timeout`](crate::SoundHashWebhookLayer::body_timeout) is 10 s. A body must arrive
//!   within this time. It counts towards the 30 s that SoundHash waits for an answer.
//! - [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout) is 5 s. A
//!   [`SecretProvider`](crate::SecretProvider) must answer within this time.
//! - [`max_buffered`](crate::SoundHashWebhookLayer::max_buffered) is 32 MiB. All unfinished bodies
//!   of a layer together hold at most this much memory.
//!
//! # Connections and request heads
//!
//! The layer sees a request when its head is complete. Before that, `axum::serve` limits neither the
//! time for a head, nor the number of connections, nor hyper's read buffers. Leave these limits to a
//! proxy, or serve with an accept loop that has them. `examples/common/server.rs` is one, which the
//! example `receiver` uses:
//!
//! - A connection that sends no complete head within 10 s is closed. hyper-util has no timeout until
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
//! - Give the handler a deadline, as in the example below, so that you notice when it hangs. The
//!   deadline drops the handler's future, so the handler must tolerate being cut off and run again.
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
//! An [`IdempotencyLayer`](crate::idempotency) with `max_age` compares the event's time with the
//! clock of the machine. Synchronize clocks with NTP. A clock that is off by more than `clock_skew`
//! makes the layer reject authentic deliveries with 401, which it logs at `warn`.
//!
//! # Shutdown
//!
//! With axum's `with_graceful_shutdown`, the server stops accepting connections and waits until it
//! has answered the requests in progress, *however long they take*. `body_timeout` limits the time
//! for a body, and a deadline limits the time of your handler. Let your process manager wait for
//! longer than both together. If a delivery is still cut off, SoundHash retries it.
//!
//! # Proxies
//!
//! The signature covers the bytes of the body. A proxy may terminate TLS, add headers, change the
//! path, and split the body in other places. It must not change any byte of the body. For example,
//! it must not decompress the body, parse and rewrite JSON, or convert line breaks. If a gateway
//! delivers the body as text or base64, restore the bytes in a middleware outside the layer.
//!
//! - The proxy's body limit must not be below `max_body_size`. Otherwise the proxy itself answers
//!   large events with 413.
//! - The proxy's timeout for an answer must not be below your handler's deadline.
//! - A proxy that buffers requests, as nginx does by default, keeps slow senders away from the layer.
//! - If the proxy changes the path and your provider chooses secrets by path, the provider sees the
//!   changed path.
//! - The proxy must pass `X-Webhook-Signature` on, exactly once.
//! - SoundHash does not log in, so the route must be reachable without credentials. The signature
//!   protects it.
//!
//! # Health checks
//!
//! Health checks are not signed. Add their route *after* the layer, so that the layer does not
//! protect it:
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
//! To check that the application accepts *deliveries*, send a signed one from outside every few
//! minutes. Use an event type that your handler ignores.
//!
//! # Alerts
//!
//! [Logs and metrics](super::telemetry) lists every line and metric. Alert on these:
//!
//! - **No accepted delivery for longer than usual.** This is the most useful alert, and most people
//!   lack it. It detects a wrong secret, a proxy that changes bodies, an expired certificate, and
//!   an endpoint that was disabled.
//! - `error`, `no SoundHashWebhookLayer around this handler`: a route is not protected and answers 500.
//! - `error`, `secret look-up failed`: deliveries are answered with 503, and SoundHash drops them
//!   after its last retry.
//! - `warn`, `webhook body is not an event`: the delivery is authentic, but its body cannot be
//!   parsed. Store such bodies and examine them.
//! - `warn`, `webhook event not recognized`: the event has a new type or a new shape. Examine it
//!   within days.
//!
//! If `wrong_signature` rises while accepted deliveries fall, the secret is wrong or a proxy
//! changes bodies. If accepted deliveries continue, someone sends forged requests. To count
//! rejections yourself, read the [`Rejection`](crate::Rejection) from the response's extensions in
//! an outer layer:
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
//! Verification does not need shared state, so any number of instances can receive behind one
//! address.
//!
//! - **Duplicates** can reach different instances. Use a store that all of them share: see
//!   [Past one machine](super::past_one_machine).
//! - **Rotation**: every instance must accept the new secret before SoundHash signs with it, and must
//!   keep the previous one until no instance needs it.
//! - **Limits** apply to each process. Three instances together can hold three times
//!   `max_buffered`.
//! - **Releases**: stop the old instance when the new one answers. If a delivery arrives while no
//!   instance runs, SoundHash retries it after a minute.
//!
//! ---
//!
//! Previous: [Security](super::security). Next: [Logs and metrics](super::telemetry). All
//! [guides](super).
