//! Security: what is checked, what a stranger can cost, and what is left to you.
//!
//! # What is checked, in this order
//!
//! The cheapest comes first, and what is refused costs nothing of what would come after.
//!
//! | | check | answer | [`RejectionKind`](crate::RejectionKind) |
//! | --- | --- | --- | --- |
//! | 1 | there is an `X-Webhook-Signature` header | 401 | `MissingSignature` |
//! | 2 | there is only one | 401 | `SeveralSignatures` |
//! | 3 | it is exactly 64 hexadecimal digits | 401 | `MalformedSignature` |
//! | 4 | `Content-Length`, where there is one, is within `max_body_size` | 413 | `BodyTooLarge` |
//! | 5 | the provider finds the endpoint's secrets | 401, or 503 where it fails | `UnknownEndpoint`, `SecretsUnavailable` |
//! | 6 | the body arrives: whole, within `max_body_size`, `body_timeout` and `max_buffered` | 400, 413, 408, 503 | `BodyBroken`, `BodyTooLarge`, `BodyTimeout`, `BufferFull` |
//! | 7 | one of the secrets made the signature of these bytes | 401 | `WrongSignature` |
//!
//! Up to 5, no byte of the body is waited for or kept. Behind 7 there is a [`Delivery`](crate::Delivery), and
//! only then is the body read as JSON: by the [`Event`](crate::Event) extractor, which answers
//! 400 or 422 if it is none.
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
//! let why = async |signature: &str, body: &'static str| {
//!     let request = Request::post("/webhooks/soundhash")
//!         .header("x-webhook-signature", signature)
//!         .header("content-length", body.len())
//!         .body(Body::from(body))
//!         .unwrap();
//!     let response: Response = app.clone().oneshot(request).await.unwrap();
//!     response.extensions().get::<Rejection>().unwrap().kind()
//! };
//! let well_formed = "0".repeat(64);
//! // A body that is too large, and a signature that is none: the header is looked at first.
//! assert_eq!(why("none", "eleven byte").await, RejectionKind::MalformedSignature);
//! assert_eq!(why(&well_formed, "eleven byte").await, RejectionKind::BodyTooLarge);
//! assert_eq!(why(&well_formed, "ten bytes!").await, RejectionKind::WrongSignature);
//! # }
//! ```
//!
//! Every 401 has the same text and the same headers, so its sender learns neither which check
//! failed nor which endpoints exist. The time of the answer can tell more: a provider that has to
//! look an endpoint up takes longer than one that knows it. Where the names of endpoints are
//! confidential, make them long and random.
//!
//! # What a stranger can cost
//!
//! - **Without a well-formed signature**: a look at the headers, and the answer. What he still
//!   sends is read and thrown away, up to 8 MiB and for up to 5 s, as after every refusal: a
//!   sender who finds the connection closed instead takes it for a failure of the network and
//!   tries again, and a proxy between answers 502. Not so where he waits for `100 Continue`,
//!   which he does not get, and over HTTP/2, where a stream can be refused alone. So a connection
//!   can live for `body_timeout` and 5 s; a limit of connections is the server's to set.
//! - **With 64 digits of his own**: a look-up by the provider; up to `max_body_size` bytes
//!   of memory for up to `body_timeout`, and of all unfinished bodies together not more than
//!   `max_buffered`, and as much again for a tenth of a second each; and the hashing of what he
//!   sends, once for each valid secret. So end a rotation when it is over, lower `max_body_size`
//!   (events are a few hundred bytes, only a long list of matches or fingerprints is larger), and
//!   give the provider a cache, also of names that do not exist.
//! - **Log**: lines at `debug` only. He cannot raise an alarm, except where his requests
//!   make the provider fail, which is logged at `error`.
//! - **Before there is a request**, the layer is not asked: connections, TLS and slow heads are
//!   the server's to limit, see [Going live](super::going_live).
//!
//! # Secrets
//!
//! - Make them with `openssl rand -hex 32` or the like, another one for each endpoint: an event
//!   that was signed for one endpoint is as valid at every other with the same secret.
//! - [`Secret::from_env`](crate::Secret::from_env) refuses an empty value, and white space at
//!   either end. [`Secret::try_from`](crate::Secret) a `String` wipes the string.
//! - `Debug` of a secret shows nothing of it. Its keyed state is wiped from memory when the last
//!   clone is dropped; the environment variable, the file and your own copies are yours to
//!   protect.
//! - To change one without a refused delivery, accept both, tell SoundHash the new one, and take
//!   the old one away when [`Delivery::matched_secret`](crate::Delivery::matched_secret) has been
//!   0 for ten minutes: a retry repeats the signature of its first attempt, and the last one
//!   can come nine minutes after that.
//! - When a secret was stolen there is no such time to give: replace it at once, and take the
//!   refused deliveries as the price.
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
//! - **Replay.** The signature covers the body and no time, so who recorded a delivery can send
//!   it again, and it is as authentic as it was. [`IdempotencyLayer`](crate::idempotency), with its
//!   `max_age`, remembers the events that you have dealt with, and refuses what is too old to be
//!   remembered. It also makes SoundHash's own retries harmless.
//! - **Readers.** A signature hides nothing. Receive over HTTPS.
//! - **What is not signed.** Method, path and all headers may be anybody's. A header or a path
//!   may choose the secrets, since a wrong choice fails; after that, take the endpoint from
//!   [`Delivery::endpoint`](crate::Delivery::endpoint), and id, type and time from the event.
//! - **What SoundHash was told.** An authentic event says what SoundHash said, but titles, URLs
//!   and error messages in it were written by whoever uploaded the video. Escape them, do not
//!   build commands or queries of them, and think before you fetch such a URL.
//! - **Order.** Events come in any order.
//! - **A stolen secret**, and whoever can read this process's memory or environment.
