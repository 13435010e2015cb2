//! Security: what the layer checks, what an attacker can cost, and what you have to protect
//! yourself.
//!
//! # What is checked, in this order
//!
//! The cheapest check comes first. A request that fails a check does not reach the later ones.
//!
//! 1. The request has an `X-Webhook-Signature` header. Otherwise: 401
//!    ([`MissingSignature`](crate::RejectionKind::MissingSignature)).
//! 2. It has exactly one. Otherwise: 401
//!    ([`SeveralSignatures`](crate::RejectionKind::SeveralSignatures)).
//! 3. The signature has exactly 64 hexadecimal digits. Otherwise: 401
//!    ([`MalformedSignature`](crate::RejectionKind::MalformedSignature)).
//! 4. A declared `Content-Length` is within `max_body_size`. Otherwise: 413
//!    ([`BodyTooLarge`](crate::RejectionKind::BodyTooLarge)).
//! 5. The body arrives completely, within `max_body_size`, `body_timeout` and `max_buffered`.
//!    Otherwise: 400 ([`BodyBroken`](crate::RejectionKind::BodyBroken)),
//!    413 ([`BodyTooLarge`](crate::RejectionKind::BodyTooLarge)),
//!    408 ([`BodyTimeout`](crate::RejectionKind::BodyTimeout)) or
//!    503 ([`BufferFull`](crate::RejectionKind::BufferFull)).
//! 6. The provider finds the endpoint's secrets within `lookup_timeout`. Otherwise:
//!    401 ([`UnknownEndpoint`](crate::RejectionKind::UnknownEndpoint)) or
//!    503 ([`SecretsUnavailable`](crate::RejectionKind::SecretsUnavailable)).
//! 7. The signature is that of the body under one of the secrets. Otherwise: 401
//!    ([`WrongSignature`](crate::RejectionKind::WrongSignature)).
//!
//! Steps 1 to 4 need only the head of the request. After step 7, the layer creates the
//! [`Delivery`](crate::Delivery). The body is parsed only after that. The [`Event`](crate::Event)
//! extractor answers 400 or 422 if the body is not an event.
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
//! Every 401 has the same text and the same headers, so the sender learns neither which check
//! failed nor which endpoints exist.
//! [`explain_rejections`](crate::SoundHashWebhookLayer::explain_rejections) adds the reason to the
//! response. Use it in staging only, because it shows an attacker which endpoints exist.
//!
//! The response time can reveal more than the text. A provider takes longer for a name that it has
//! to look up. The layer hashes the whole body once for each valid secret, so an endpoint in the
//! middle of a rotation takes measurably longer for a large body than an endpoint with one secret.
//! If the names of endpoints are confidential, make them long and random.
//!
//! # What an attacker can cost
//!
//! - **Without a well-formed signature**, an attacker costs the check of the headers and a
//!   response. The layer discards the body. Over HTTP/1, it reads the body to its end, so that an
//!   honest sender can read the response instead of a connection reset. It does so only for bodies
//!   of a declared length of up to 8 MiB, for up to 5 s, and for up to 16 bodies at a time.
//! - **With 64 invented digits**, an attacker can occupy up to `max_body_size` bytes of memory for
//!   up to `body_timeout`. All unfinished bodies together hold at most `max_buffered` bytes. If a
//!   body does not fit, the layer rejects the body that makes the least progress with 503, so that
//!   slow senders cannot lock out an honest one. The layer hashes each body once for each valid
//!   secret.
//! - **Look-ups** start only when a body has arrived, so that a request without its body cannot
//!   start one. Cache the names that exist *and* those that do not, as `CachedSecrets` (feature
//!   `cache`) does.
//! - **The log** gets at most one warning per minute and reason. At `debug`, it has every
//!   rejection.
//! - **Before a request**, the layer cannot help. The server or a proxy must limit connections, TLS
//!   handshakes, slow request heads and read buffers: see [Going
//!   live](super::going_live#connections-and-request-heads).
//!
//! `SECURITY.md` in the repository lists each attack, the tests that reproduce it, and measured
//! costs.
//!
//! # Secrets
//!
//! - Create each endpoint's secret with `openssl rand -hex 32` or a similar command. Do not use one
//!   secret for several endpoints, because a delivery to one of them is then valid at the others.
//! - [`Secret::from_env`](crate::Secret::from_env) rejects an empty value and white space at either
//!   end. `Secret::try_from` a `String` wipes the string.
//! - `Debug` does not show a secret. Protect the environment variable, the file, and your own copies.
//! - On SoundHash's developer portal, you can rotate a secret in place. First accept both secrets.
//!   Then enter the new secret on the portal. Remove the old secret when
//!   [`Delivery::matched_secret`](crate::Delivery::matched_secret) has been 0 for ten minutes. A
//!   retry repeats the signature of the first attempt, and the last retry can arrive nine minutes
//!   later.
//! - SoundHash's API cannot change the secret of an endpoint. Create a second endpoint, and then
//!   delete the first one. In between, each event arrives twice, with the same body and two
//!   signatures. An [`IdempotencyLayer`](crate::idempotency) recognizes the second delivery as a
//!   duplicate.
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
//! - **Replays.** A signature does not expire, so an attacker who recorded a delivery can send it
//!   again. An [`IdempotencyLayer`](crate::idempotency) with a `max_age` remembers the events that
//!   you acted on, and rejects those that are too old to be remembered. It also recognizes
//!   SoundHash's own retries.
//! - **Eavesdropping.** A signature does not encrypt anything. Receive over HTTPS.
//! - **Anything that is not signed.** An attacker can choose the method, the path, and all headers
//!   of a recorded delivery. A provider may use a header or the path to find the secrets, because
//!   the verification fails with those of another endpoint. After the verification, take the
//!   endpoint from [`Delivery::endpoint`](crate::Delivery::endpoint), and the id, the type and the
//!   time from the event.
//! - **The content of an event.** The signature proves only that SoundHash sent the event. Titles,
//!   URLs and error messages can come from the person who uploaded a video. Escape them, do not
//!   build commands or queries from them, and check a URL before you fetch it.
//! - **Order.** Events arrive in any order.
//! - **Access to the secret.** Anyone who can read the memory or the environment of the process can
//!   sign.
//!
//! ---
//!
//! Previous: [Past one machine](super::past_one_machine). Next: [Going live](super::going_live). All
//! [guides](super).
