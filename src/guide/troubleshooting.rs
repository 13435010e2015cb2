//! Troubleshooting: symptom, cause, cure.
//!
//! The sender is told no reasons. The log is, at `debug`:
//!
//! ```console
//! $ RUST_LOG=soundhash_webhook=debug cargo run
//! ```
//!
//! prints a line such as `webhook refused: signature does not match the body`, with a field
//! `reason`, if the program has a subscriber that reads `RUST_LOG`, such as
//! `tracing_subscriber::fmt::init()` with that crate's feature `env-filter`.
//!
//! # Every signature is wrong
//!
//! Every delivery is answered with 401. Look for the `reason` first:
//!
//! | `reason` | cause | cure |
//! | --- | --- | --- |
//! | `missing_signature` | not from SoundHash, or a proxy drops the header | let `X-Webhook-Signature` through |
//! | `several_signatures` | something on the way adds one | send one |
//! | `malformed_signature` | your own sender writes base64, or `sha256=` in front | 64 hexadecimal digits, and nothing else |
//! | `unknown_endpoint` | the provider answered `None` | look at the path or header that it goes by, after all proxies |
//! | `wrong_signature` | another secret, or another body: see below | |
//! | `too_old`, `undated`, `from_the_future` | the signature is right, and the event's time is not for the `max_age` of an [`IdempotencyLayer`]: a request that was recorded or written by hand, a `testing::sample`, a wrong clock | send a new event, as `soundhash-webhook send` and `testing::fresh_sample` do; set the clock |
//!
//! **Another secret.** The key is the secret as it stands, all of it.
//!
//! - *A line end or a space at its end*, from a file, from `echo`, or from a mounted secret.
//!   `Secret::from_env` refuses that; trim what you read elsewhere.
//! - *The prefix stripped, or base64 decoded*, as other vendors' libraries do. Here `whsec_` is
//!   part of the key.
//! - *That of another endpoint*, of staging, or the one before: each endpoint has its own.
//! - *The one you chose, and SoundHash made another*: use what the API answered with.
//!
//! **Another body.** One byte is enough.
//!
//! - *Something outside of the layer changes it*: decompression, or JSON that is read and written
//!   again. Move it inside, see [Where to put the layer](super::placement).
//! - *Something outside has read it already*, so that the layer got an empty one.
//! - *A proxy changes it.* Bodies go through as they are, see [Going live](super::going_live).
//! - *The shell changes it*: `curl -d @file` drops line ends, `echo` adds one. Use
//!   `--data-binary`, and `printf %s`.
//!
//! Which it is, can be told from one delivery: its body as it arrived, its signature, and the
//! secret. The command `soundhash-webhook verify` (crate `soundhash-webhook-cli`) tries the usual
//! mistakes on them and names the one that explains it, if one does. By hand, with a body and a
//! secret for tests, it is this:
//!
//! ```
//! use axum::http::HeaderValue;
//! use soundhash_webhook::Secret;
//!
//! // What SoundHash has, and what it sends.
//! let body = b"{\"event\": \"video.processed\", \"data\": {\"title\": \"A song\"}}";
//! let signature = Secret::new("whsec_test").sign(body).to_string();
//!
//! let fits = |secret: &str, body: &[u8]| {
//!     let signature = HeaderValue::try_from(&signature).unwrap();
//!     Secret::new(secret).verify(&signature, body).is_ok()
//! };
//! assert!(fits("whsec_test", body));
//! assert!(!fits("whsec_test\n", body), "a line end after the secret");
//! assert!(!fits("test", body), "the prefix stripped");
//! let again = serde_json::from_slice::<serde_json::Value>(body).unwrap().to_string();
//! assert!(!fits("whsec_test", again.as_bytes()), "JSON read and written again");
//! assert!(!fits("whsec_test", &[body, &b"\n"[..]].concat()), "a line end added");
//! assert!(!fits("whsec_test", b""), "read by something else before");
//! ```
//!
//! Or without Rust; both lines print the same if secret and body are right:
//!
//! ```console
//! $ openssl dgst -sha256 -hmac "$SOUNDHASH_WEBHOOK_SECRET" -r <body.json
//! $ echo "$X_WEBHOOK_SIGNATURE"
//! ```
//!
//! Both need the body as it *arrived*, and behind the layer there are verified ones only. Write it
//! down outside, in a test environment and with a limit, since this reads what strangers send:
//!
//! ```
//! use axum::{
//!     Router, body::{Body, to_bytes}, extract::Request, http::StatusCode,
//!     middleware::{self, Next}, response::{IntoResponse, Response}, routing::post,
//! };
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//!
//! async fn write_down(request: Request, next: Next) -> Response {
//!     let (head, body) = request.into_parts();
//!     let Ok(body) = to_bytes(body, 1024 * 1024).await else {
//!         return StatusCode::BAD_REQUEST.into_response();
//!     };
//!     eprintln!("{:?}\n{:?}", head.headers, body);
//!     // Handed on as it came, so that the layer finds what would have arrived without this.
//!     next.run(Request::from_parts(head, Body::from(body))).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .layer(middleware::from_fn(write_down));
//! #     use soundhash_webhook::testing::SignedRequest;
//! #     use tower::ServiceExt;
//! #     let request = SignedRequest::new("whsec_test").build();
//! #     assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::OK);
//! # }
//! ```
//!
//! # Other answers
//!
//! | symptom | cause | cure |
//! | --- | --- | --- |
//! | 500 `Internal server error`, and the log names the layer | no layer around the handler: none was added, or the route was added after it | add the layer after the route |
//! | 401 for health checks, or for every path | `Router::layer` protects the whole router | add open routes after it, or use `route_layer` |
//! | 400 `body is not JSON…` | authentic, but not JSON even as Python writes it | take `Result<Event, EventRejection>` and `Delivery`, keep the bytes, answer 200 |
//! | 422 `event has no type`, `event has no payload` | authentic, and another kind of message | the same |
//! | 422 `event is … and not …`, `payload does not fit …` | the handler takes a `Payload` of another type; or the test button | register the endpoint for this type only, use an `EventRouter`, or take a `Result` |
//! | 413 `Body too large` | over `max_body_size`, or a proxy's own limit if the text is another | raise it |
//! | 413 from a handler that takes `Bytes` or `Json` | axum's `DefaultBodyLimit`, 2 MB | raise it inside of the layer |
//! | 415 | axum's `Json<T>` wants `Content-Type: application/json`, and the endpoint's custom headers overwrite it | take `Event`, or `Delivery::json`, which do not look at it |
//! | 400 `Body not received` | the connection broke off within the body | nothing, if it is rare: SoundHash may send it again |
//! | 408 `Body not received in time` | the sender stalls, or a proxy announces a body and does not send it | look at the proxy; raise `body_timeout` if the network is really that slow |
//! | 503 `Service unavailable` with `Retry-After` | the provider failed (`secrets_unavailable`), or unfinished bodies fill the buffer (`buffer_full`) | look at the provider's error in the log; for the other, buffer requests in a proxy |
//! | a known type is `Unrecognized` | the test button, or a new shape: `reason` says what did not fit | answer 2xx; tell us if it is a new shape |
//! | SoundHash reports time-outs | the handler takes more than 30 s | answer when the event is stored, work later |
//! | the same event twice | delivery is at least once | an [`IdempotencyLayer`], see [Each event once](crate::idempotency) |
//! | events in the wrong order | they have none | go by `created_at`, or ask the API for the current state |
//!
//! # It does not compile
//!
//! - *`Handler` is not implemented for…*: one extractor reads the body and must be the last
//!   argument. `Event` and `Delivery` do not, and can stand anywhere before it. Axum's
//!   `#[debug_handler]` says more.
//! - *`match` is not exhaustive*: `EventData` can grow, so a `match` needs an arm for the rest.
//!
//! # It panics
//!
//! - *`secret is empty`*: `Secret::new` of an empty string. Use `Secret::from_env`, which answers
//!   with an error.
//! - *`there is no reactor running`*: the service was polled outside of a Tokio runtime while
//!   it waited for a body.
//!
//! [`IdempotencyLayer`]: crate::idempotency::IdempotencyLayer
