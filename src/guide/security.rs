//! Security: what is checked, what an attacker can cost, and what is left to you.
//!
//! # What is checked, in this order
//!
//! The cheapest check comes first. A request that fails one check costs nothing of the later ones.
//!
//! 1. The request has an `X-Webhook-Signature` header. Otherwise 401,
//!    [`MissingSignature`](crate::RejectionKind::MissingSignature).
//! 2. It has exactly one. Otherwise 401,
//!    [`SeveralSignatures`](crate::RejectionKind::SeveralSignatures).
//! 3. The signature has exactly 64 hexadecimal digits. Otherwise 401,
//!    [`MalformedSignature`](crate::RejectionKind::MalformedSignature).
//! 4. A declared `Content-Length` is within `max_body_size`. Otherwise 413,
//!    [`BodyTooLarge`](crate::RejectionKind::BodyTooLarge).
//! 5. The body arrives completely, within `max_body_size`, `body_timeout` and `max_buffered`.
//!    Otherwise 400, 413, 408 or 503: [`BodyBroken`](crate::RejectionKind::BodyBroken),
//!    [`BodyTooLarge`](crate::RejectionKind::BodyTooLarge),
//!    [`BodyTimeout`](crate::RejectionKind::BodyTimeout),
//!    [`BufferFull`](crate::RejectionKind::BufferFull).
//! 6. The provider finds the endpoint's secrets within `lookup_timeout`. Otherwise 401,
//!    [`UnknownEndpoint`](crate::RejectionKind::UnknownEndpoint), or 503,
//!    [`SecretsUnavailable`](crate::RejectionKind::SecretsUnavailable).
//! 7. One of the secrets made the signature of these bytes. Otherwise 401,
//!    [`WrongSignature`](crate::RejectionKind::WrongSignature).
//!
//! Up to step 4, no byte of the body is received or kept. After step 7 there is a
//! [`Delivery`](crate::Delivery). Only then is the body parsed, by the [`Event`](crate::Event)
//! extractor, which answers 400 or 422 if the body is not an event.
//!
//! ```
//! use axum::{Router, body::Body, extract::Request, response::Response, routing::post};
//! use soundhash_webhook::{Event, Rejection, RejectionKind, SoundHashWebhookLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .layer(SoundHashWebhookLayer::new("whsec_test").max_body_size(10));
//! let reason = async |signature: &str, body: &'static str| {
//!     let request = Request::post("/webhooks/soundhash")
//!         .header("x-webhook-signature", signature)
//!         .header("content-length", body.len())
//!         .body(Body::from(body))
//!         .unwrap();
//!     let response: Response = app.clone().oneshot(request).await.unwrap();
//!     response.extensions().get::<Rejection>().unwrap().kind()
//! };
//! let well_formed = "0".repeat(64);
//! // Both the signature and the length are wrong here. The signature is checked first.
//! assert_eq!(reason("none", "eleven byte").await, RejectionKind::MalformedSignature);
//! assert_eq!(reason(&well_formed, "eleven byte").await, RejectionKind::BodyTooLarge);
//! assert_eq!(reason(&well_formed, "ten bytes!").await, RejectionKind::WrongSignature);
//! # }
//! ```
//!
//! Every 401 has the same text and the same headers, so its sender learns neither which check failed
//! nor which endpoints exist. [`explain_rejections`](crate::SoundHashWebhookLayer::explain_rejections)
//! adds the reason to the response. Use it in staging only: it tells an attacker which endpoints exist.
//!
//! The time of an answer can tell more than its text. A provider takes longer for a name that it has to
//! look up. Every valid secret is hashed over the whole body, so an endpoint in the middle of a
//! rotation takes measurably longer for a large body than one with a single secret. If the names of
//! endpoints are confidential, make them long and random.
//!
//! # What an attacker can cost
//!
//! - **Without a well-formed signature**, an attacker costs a look at the headers and an answer. The
//!   body of an unsigned request is read only if its length is declared and within the limit, so that
//!   an honest sender can read the answer instead of a connection reset. A bounded number of rejected
//!   bodies is read at a time, and none of their bytes are kept.
//! - **With 64 made-up digits**, an attacker gets up to `max_body_size` bytes of memory for up to
//!   `body_timeout`. All unfinished bodies together hold at most `max_buffered` bytes. When that is
//!   full, the body that makes the least progress is rejected with 503, so slow senders cannot lock out
//!   an honest one. Each body is hashed once per valid secret.
//! - **Look-ups** start only when a body has arrived, so a request that consists of a head costs none.
//!   Cache the names that exist *and* those that do not: see
//!   [`CachedSecrets`](crate::SecretProvider#caching).
//! - **The log** gets at most one warning per minute and reason, whatever the attacker sends. Each
//!   rejection is logged at `debug`.
//! - **Before there is a request**, the layer cannot help. Connections, TLS, slow request heads and the
//!   server's read buffers are the server's to limit: see
//!   [Going live](super::going_live#connections-and-request-heads).
//!
//! `SECURITY.md` in the repository lists each attack with the measured figures and the test that
//! reproduces it.
//!
//! # Secrets
//!
//! - Create each endpoint's secret with `openssl rand -hex 32` or a similar command. Do not share a
//!   secret between endpoints: an event that is signed for one is valid at all others with that secret.
//! - [`Secret::from_env`](crate::Secret::from_env) rejects an empty value and white space at either
//!   end. `Secret::try_from` a `String` wipes the string.
//! - `Debug` does not show a secret. Protect the environment variable, the file, and your own copies.
//! - On SoundHash's developer portal you can rotate a secret in place: accept both secrets, tell
//!   SoundHash the new one, and remove the old one when
//!   [`Delivery::matched_secret`](crate::Delivery::matched_secret) has been 0 for ten minutes. A retry
//!   repeats the signature of its first attempt, and the last retry can arrive nine minutes later.
//! - Through SoundHash's API the secret of an endpoint cannot be changed. Rotating means creating a
//!   second endpoint and deleting the first. Until then each event arrives twice, with the same body
//!   and two signatures. An [`IdempotencyLayer`](crate::idempotency) recognizes the second one.
//! - Replace a stolen secret at once, and accept that some deliveries are rejected.
//!
//! ```
//! use soundhash_webhook::{Secret, SecretErrorKind, SoundHashWebhookLayer};
//!
//! let layer = SoundHashWebhookLayer::new("whsec_new").previous_secret("whsec_old");
//!
//! assert_eq!(format!("{:?}", Secret::new("whsec_new")), "Secret(..)");
//! let error = Secret::try_from(String::new()).unwrap_err();
//! assert_eq!(error.kind(), SecretErrorKind::Empty);
//! ```
//!
//! # What it does not protect from
//!
//! - **Replays.** The signature covers the body and no time of receipt, so an attacker who recorded a
//!   delivery can send it again. An [`IdempotencyLayer`](crate::idempotency) with a `max_age` remembers
//!   the events that you acted on, and rejects those that are too old to be remembered. It also makes
//!   SoundHash's own retries harmless.
//! - **Eavesdropping.** A signature hides nothing. Receive over HTTPS.
//! - **Anything that is not signed.** An attacker can choose the method, the path, and all headers of
//!   a recorded delivery. A header or a path may choose the secrets, because a wrong choice fails. After
//!   verification, take the endpoint from [`Delivery::endpoint`](crate::Delivery::endpoint), and the
//!   id, the type and the time from the event.
//! - **The content of an event.** An authentic event says what SoundHash said. The person who uploaded
//!   a video wrote its title, URL and error messages. Escape them, do not build commands or queries
//!   from them, and think before you fetch such a URL.
//! - **Order.** Events arrive in any order.
//! - **A stolen secret**, and anyone who can read the memory or the environment of the process.
//!
//! ---
//!
//! Previous: [Past one machine](super::past_one_machine). Next: [Going live](super::going_live). All
//! [guides](super).
