//! Going live: what to set, what to put around it, and what to watch.
//!
//! # Secrets
//!
//! One from the environment, and during a rotation the one before:
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
//!             // No rotation. Of a compose file, what is not set arrives empty.
//!             SecretErrorKind::NotSet | SecretErrorKind::Empty => Ok(layer),
//!             // It is set and wrong: not `.ok()`, which would refuse deliveries for it.
//!             _ => Err(error),
//!         },
//!     }
//! }
//! # assert_eq!(layer().unwrap_err().variable(), Some("SOUNDHASH_WEBHOOK_SECRET"));
//! ```
//!
//! When the old one can go, see [Secrets](super::security#secrets). The example `rotation` changes
//! secrets without a restart, by a [`SecretProvider`](crate::SecretProvider).
//!
//! # Limits
//!
//! | | default | what to think of |
//! | --- | --- | --- |
//! | [`max_body_size`](crate::SoundHashWebhookLayer::max_body_size) | 1 MiB | an event that is over it is lost. Most are below 1 KB; long lists of matches or fingerprints are not |
//! | [`body_timeout`](crate::SoundHashWebhookLayer::body_timeout) | 10 s | counts from when the body has to be waited for. It is a part of the sender's 30 s |
//! | [`max_buffered`](crate::SoundHashWebhookLayer::max_buffered) | 64 MiB | of each process, for all bodies that are unfinished. Deliveries that arrive whole are served when it is full |
//!
//! The layer sees a request when its head is there. What comes before is the server's, and
//! `axum::serve` limits neither the time for a head nor the number of connections: leave both to
//! a proxy, or serve with hyper as the example `plain_tower` does.
//!
//! # Time-outs
//!
//! SoundHash waits 30 s for an answer. After a failure it sends the event again 60, 120 and 240 s
//! later, and then it is lost for good. So:
//!
//! - A handler has what is left of 30 s when the provider and the body have taken theirs. Work
//!   that may take longer goes into a queue: answer 2xx when it is *stored* there. The example
//!   `inbox` does so on Postgres: one transaction records the event and enqueues its job.
//! - A handler that hangs should fail in time, so that it is known here and not only there.
//!   Dropping a future cancels it, so what it does must bear to be cut off and done again.
//! - A receiver that is away for more than seven minutes loses events.
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
//!         // 5xx: SoundHash sends it again.
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
//! # Stopping
//!
//! With axum's `with_graceful_shutdown`, no new connections are accepted, and requests in flight
//! are answered, *however long they take*. A body has its `body_timeout`; give the handler a limit
//! too, as above, and let whatever stops the process wait longer than both together. The example
//! `receiver` stops so at SIGTERM and SIGINT. A delivery that is cut off all the same is sent
//! again.
//!
//! # Proxies
//!
//! The signature is that of the body's bytes. A proxy in front may end TLS, add headers, change
//! the path, and send the body in other pieces; what it must not do is change a byte: no
//! decompression, no JSON that is read and written again, no line ends "corrected". Gateways that
//! hand a body on as text or in base64 need to have that undone before the layer.
//!
//! - Its own limit of a body's size should not be below `max_body_size`, or its 413 is the one
//!   you have to look for.
//! - Its time-out for an answer should not be below your handler's.
//! - One that buffers requests, as nginx does by default, keeps slow senders away from the layer.
//! - If it changes the path, a provider that chooses secrets by path sees the changed one.
//! - `X-Webhook-Signature` must get through, once.
//! - SoundHash does not log in: the route must be open to the world. That is what the signature
//!   is for.
//!
//! # Order of layers
//!
//! Outside of this layer belongs what must see every request and leaves bodies alone; inside,
//! what reads them. [Where to put the layer](super::placement) has the details.
//!
//! # Health checks
//!
//! They carry no signature. Add their route *after* the layer, which then does not protect it:
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
//! let stranger = Request::post("/webhooks/soundhash").body(Body::empty()).unwrap();
//! assert_eq!(app.oneshot(stranger).await.unwrap().status(), StatusCode::UNAUTHORIZED);
//! # }
//! ```
//!
//! To see that a *delivery* would be accepted, send a signed one from outside every few minutes,
//! of a known type that your handler passes over.
//!
//! # What to watch
//!
//! The log at `warn` and `error`, and the metrics, all listed in
//! [What it logs, counts and measures](super::telemetry). Of the log:
//!
//! - `error`, `no SoundHashWebhookLayer around this handler…`: a route is not protected, and
//!   answers 500. Wake somebody.
//! - `error`, `webhook refused: secret look-up failed`: the provider failed, and deliveries get
//!   503. Wake somebody if it lasts: you have seven minutes.
//! - `warn`, `webhook body is not an event`: authentic, and not understood. It is answered with
//!   400 or 422, unless the handler takes a `Result`. Keep the body, and look.
//! - `warn`, `webhook event not recognized`: a new type, a new shape, or the test button. Look
//!   within days.
//!
//! What wakes nobody and should: **no accepted delivery** for longer than is usual for you. It is
//! the one sign that covers a wrong secret, a proxy that changes bodies, an expired certificate
//! and a registration that was switched off. A rise of `wrong_signature` while accepted deliveries
//! fall is a secret or a proxy; while they go on, it is a stranger. To count refusals, look for a
//! [`Rejection`](crate::Rejection) in the extensions of responses, in a layer outside:
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
//! Verification shares nothing, so any number of instances can stand behind one address.
//!
//! - **Duplicates** can reach different instances. What is remembered of events already dealt with
//!   has to be in a place that all of them see: see [each event once](crate::idempotency).
//! - **Rotation**: every instance has to accept the new secret before SoundHash is told it, and
//!   every one has to have seen the old one out of use before it goes.
//! - **Limits** are of each process: `max_buffered` times the number of instances is what all of
//!   them can hold.
//! - **Releases**: let the old instance stop when the new one answers; a delivery in between is
//!   sent again after a minute.
