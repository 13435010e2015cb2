//! Troubleshooting: symptoms, causes and cures.
//!
//! The response never says why a request was rejected. The log does: at `warn`, summarised once a
//! minute per reason, and at `debug` for each request. It needs a subscriber, such as
//! `tracing_subscriber::fmt::init()`. The inspector (crate `soundhash-webhook-inspector`) shows each
//! request and its reason in the browser.
//!
//! # Every signature is wrong
//!
//! Every delivery is answered with 401. The log names the reason:
//!
//! - **`missing_signature`**: the request is not from SoundHash, or a proxy drops the header. Let
//!   `X-Webhook-Signature` through.
//! - **`several_signatures`**: something between SoundHash and you adds a header. Send one.
//! - **`malformed_signature`**: your own sender writes base64, or `sha256=` in front. Send 64
//!   hexadecimal digits and nothing else.
//! - **`unknown_endpoint`**: the provider returned `None`. Check the path or header that it uses, as it
//!   is after all proxies.
//! - **`wrong_signature`**: another secret, or another body. See below.
//! - **`too_old`, `undated`, `from_the_future`**: the signature is correct, and the event's time is
//!   outside the `max_age` of an [`IdempotencyLayer`](crate::idempotency). It is a recorded or
//!   hand-written request, a `testing::sample`, or your clock is wrong. Synchronise the clock with NTP,
//!   and send new events with `soundhash-webhook send` or `testing::fresh_sample`.
//!
//! **Another secret.** The key is the whole secret, byte for byte.
//!
//! - *White space or quotes around it*, from a file, from `echo`, or from an `.env` file. A line
//!   `SECRET="abc"` in a Docker `--env-file` keeps its quotes.
//! - *The prefix removed, or base64 decoded*, as other vendors' libraries do. Here `whsec_` is part of
//!   the key.
//! - *The secret of another endpoint*, of staging, or the one before. Each endpoint has its own.
//! - *A secret that you chose while SoundHash generated another*: use the one that the API returned.
//!
//! **Another body.** One different byte is enough.
//!
//! - *A layer outside changes it*: decompression, or JSON that is parsed and written again. Move that
//!   layer inside, see [Where to put the layer](super::placement).
//! - *A layer outside has read it already*, so that this layer received an empty body.
//! - *A proxy changes it.* See [Going live](super::going_live#proxies).
//! - *The shell changes it*: `curl -d @file` removes line breaks, and `echo` adds one. Use
//!   `--data-binary` and `printf %s`.
//!
//! One delivery is enough to tell which: its body as it arrived, its signature, and the secret. The
//! command tries the usual mistakes on them, and names the one that explains it:
//!
//! ```console
//! $ SOUNDHASH_WEBHOOK_SECRET=… soundhash-webhook verify --signature 0123…cdef body.json
//! ```
//!
//! The inspector's "Why?" button and `testing::diagnose` do the same. With a body and a secret for
//! tests, this is what they do:
//!
//! ```
//! use axum::http::HeaderValue;
//! use soundhash_webhook::Secret;
//!
//! // What SoundHash has, and what it sends.
//! let body = b"{\"event\": \"video.processed\", \"data\": {\"title\": \"A song\"}}";
//! let signature = Secret::new("whsec_test").sign(body).to_string();
//!
//! let matches = |secret: &str, body: &[u8]| {
//!     let signature = HeaderValue::try_from(&signature).unwrap();
//!     Secret::new(secret).verify(&signature, body).is_ok()
//! };
//! assert!(matches("whsec_test", body));
//! assert!(!matches("whsec_test\n", body), "a line break after the secret");
//! assert!(!matches("test", body), "the prefix removed");
//! let rewritten = serde_json::from_slice::<serde_json::Value>(body).unwrap().to_string();
//! assert!(!matches("whsec_test", rewritten.as_bytes()), "JSON parsed and written again");
//! assert!(!matches("whsec_test", &[body, &b"\n"[..]].concat()), "a line break added");
//! assert!(!matches("whsec_test", b""), "the body was read before");
//! ```
//!
//! Without Rust, these two lines print the same if the secret and the body are correct:
//!
//! ```console
//! $ openssl dgst -sha256 -hmac "$SOUNDHASH_WEBHOOK_SECRET" -r <body.json
//! $ echo "$X_WEBHOOK_SIGNATURE"
//! ```
//!
//! All of them need the body as it *arrived*. The inspector saves it. You can also record it in a test
//! environment with a middleware outside the layer. Keep a limit, because this reads unverified bodies:
//!
//! ```
//! use axum::{
//!     Router, body::{Body, to_bytes}, extract::Request, http::StatusCode,
//!     middleware::{self, Next}, response::{IntoResponse, Response}, routing::post,
//! };
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//!
//! async fn record(request: Request, next: Next) -> Response {
//!     let (head, body) = request.into_parts();
//!     let Ok(body) = to_bytes(body, 1024 * 1024).await else {
//!         return StatusCode::BAD_REQUEST.into_response();
//!     };
//!     eprintln!("{:?}\n{:?}", head.headers, body);
//!     // The layer receives the bytes as they arrived.
//!     next.run(Request::from_parts(head, Body::from(body))).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/webhooks/soundhash", post(|_: Event| async {}))
//!     .layer(SoundHashWebhookLayer::new("whsec_test"))
//!     .layer(middleware::from_fn(record));
//! #     use soundhash_webhook::testing::SignedRequest;
//! #     use tower::ServiceExt;
//! #     let request = SignedRequest::new("whsec_test").build();
//! #     assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::OK);
//! # }
//! ```
//!
//! # Other answers
//!
//! - **500 `Internal server error`, and the log names the layer**: no layer protects the handler. It
//!   was not added, or the route was added after it. Add the layer after the route.
//! - **401 for health checks, or for every path**: `Router::layer` protects the whole router. Add open
//!   routes after it, or use `route_layer`.
//! - **400 `body is not JSON…`, 422 `event has no type`, 422 `event has no payload`**: the body is
//!   authentic, but it is not an event. Take `Result<Event, EventRejection>` and `Delivery`, keep the
//!   bytes, and answer 200.
//! - **422 `event is … and not …`, `payload does not fit …`**: the handler takes a `Payload` of another
//!   type, or someone pressed the test button. Register the endpoint for this type only, use an
//!   `EventRouter`, or take a `Result`.
//! - **413 `Body too large`**: the body is over `max_body_size`, or over a proxy's limit if the text
//!   differs. Raise the limit.
//! - **413 `length limit exceeded`** from a handler that takes `Bytes` or `Json`: axum's
//!   `DefaultBodyLimit` of 2 MB. Raise it inside the layer.
//! - **415**: axum's `Json<T>` requires `Content-Type: application/json`, and custom headers of the
//!   endpoint can overwrite it. Take `Event` or `Delivery::json`, which ignore the header.
//! - **405**: the method is not `POST`. The [`IdempotencyLayer`](crate::idempotency) accepts no other.
//! - **400 `Body not received`**: the connection broke off. SoundHash sends the event again.
//! - **408 `Body not received in time`**: the sender stalls, or a proxy declares a body and does not
//!   send it. Check the proxy. Raise `body_timeout` if the network is really that slow.
//! - **503 `Service unavailable` with `Retry-After`**: the provider failed (`secrets_unavailable`), or
//!   unfinished bodies fill the buffer (`buffer_full`). Check the provider's error in the log, or
//!   buffer requests in a proxy.
//! - **A known type is `Unrecognized`**: the test button, or a new shape. `reason` says what did not
//!   fit. Answer 2xx, and please report a new shape.
//! - **SoundHash reports timeouts, or the log says that a handler was cut off**: the handler takes more
//!   than 30 s. Store the event, answer, and work later: see
//!   [Past one machine](super::past_one_machine).
//! - **The same event twice**: delivery is at least once. Use an
//!   [`IdempotencyLayer`](crate::idempotency).
//! - **Events in the wrong order**: events arrive in any order. Compare `created_at`, or ask the API for the
//!   current state.
//!
//! # Compile errors
//!
//! - **`Handler` is not implemented for …**: an extractor that reads the body, such as `Bytes` or
//!   `Json`, must be the last argument. `Event` and `Delivery` can be anywhere before it. Axum's
//!   `#[debug_handler]` explains more. It needs axum's feature `macros`.
//! - **E0639, cannot create non-exhaustive struct**: payload types can grow. Start from `Default` and
//!   set fields, as in [Testing](super::testing_your_handler#without-http).
//! - **E0004, non-exhaustive patterns**: `EventData` can grow too. Add an arm `other => …`.
//! - **the trait `IntoResponse` is not implemented for `Box<dyn Error…>`** with `tower::timeout` or
//!   another fallible tower layer: a `Router` needs infallible services. Use
//!   `tower_http::timeout::TimeoutLayer`, which answers 408, or axum's `HandleErrorLayer`.
//! - **`SecretProvider` is not dyn compatible** for `Box<dyn SecretProvider>`: the trait has an async
//!   method. Make the code generic over the provider, or write an enum of your providers.
//!
//! # Panics
//!
//! - **`secret is empty`**: `Secret::new` with an empty string. Use `Secret::from_env` or
//!   `Secret::try_from`, which return an error.
//! - **`there is no reactor running`**: the service was polled outside a Tokio runtime while it waited
//!   for a body.
//!
//! ---
//!
//! Previous: [Logs and metrics](super::telemetry). Next: [Migrating](super::migrating). All
//! [guides](super).
