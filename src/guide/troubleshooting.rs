//! Troubleshooting: symptoms, causes and fixes.
//!
//! The response never says why a request was rejected. The log does. At `warn`, it has a summary
//! per minute and reason, and at `debug`, a line for each request. To see the log, install a
//! subscriber, such as `tracing_subscriber::fmt::init()`. The inspector (crate
//! `soundhash-webhook-inspector`) shows each request in the browser, with the reason of its
//! rejection.
//!
//! # Every signature is wrong
//!
//! Every delivery is answered with 401. The log names the reason:
//!
//! - **`missing_signature`**: the request is not from SoundHash, or a proxy drops the header. Let
//!   `X-Webhook-Signature` through.
//! - **`several_signatures`**: a proxy or your own sender adds a second header. Send only one.
//! - **`malformed_signature`**: your own sender writes base64, or a prefix such as `sha256=`. Send
//!   exactly 64 hexadecimal digits.
//! - **`unknown_endpoint`**: the provider returned `None`. Check the path or header that it uses. A
//!   proxy may have changed it.
//! - **`wrong_signature`**: the secret or the body differs from what SoundHash signed. See below.
//! - **`too_old`, `undated`, `from_the_future`**: the signature is correct, but an
//!   [`IdempotencyLayer`](crate::idempotency) with `max_age` does not accept the event's time. The
//!   request was recorded or written by hand, or it is a `testing::sample`, or your clock is wrong.
//!   Synchronize the clock with NTP, and send new events with `soundhash-webhook send` or
//!   `testing::fresh_sample`.
//!
//! **The secret differs.** The key is the whole secret, byte for byte. Common causes:
//!
//! - *White space or quotes around the secret*, from a file, from `echo`, or from an `.env` file. A
//!   line `SECRET="abc"` in a Docker `--env-file` keeps its quotes.
//! - *A removed prefix, or decoded base64*, as in other vendors' libraries. Here, `whsec_` is part
//!   of the key.
//! - *The secret of another endpoint*, of another environment, or from before a rotation. Each
//!   endpoint has its own secret.
//! - *A secret that you chose*, although SoundHash generated another one. Use the secret that the
//!   API returned.
//!
//! **The body differs.** A single byte is enough. Common causes:
//!
//! - *A layer outside changes the body*: it decompresses the body, or parses and rewrites JSON.
//!   Move that layer inside: see [Where to put the layer](super::placement).
//! - *A layer outside has already read the body*, so that this layer received an empty body.
//! - *A proxy changes the body.* See [Going live](super::going_live#proxies).
//! - *The shell changes the body*: `curl -d @file` removes line breaks, and `echo` adds one. Use
//!   `--data-binary` and `printf %s`.
//!
//! You can find the cause with one delivery: its body as it arrived, its signature, and the secret.
//! The command tries the common mistakes, and names the one that leads to this signature:
//!
//! ```console
//! $ SOUNDHASH_WEBHOOK_SECRET=… soundhash-webhook verify --signature 0123…cdef body.json
//! ```
//!
//! The inspector's "Why?" button and `testing::diagnose` do the same. This code shows how some of
//! the mistakes change a signature:
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
//! Without Rust, compare the output of these two lines. It is the same if the secret and the body
//! are correct:
//!
//! ```console
//! $ openssl dgst -sha256 -hmac "$SOUNDHASH_WEBHOOK_SECRET" -r <body.json
//! $ echo "$X_WEBHOOK_SIGNATURE"
//! ```
//!
//! For all of these, you need the body as it *arrived*. The inspector saves it. You can also record
//! it in a test environment with a middleware outside the layer. Limit the length, because the
//! middleware reads bodies that are not verified:
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
//! - **500 `Internal server error`, and the log says that the layer is missing**: no layer protects
//!   the handler. Add the layer after the route.
//! - **401 for health checks, or for every path**: `Router::layer` protects the whole router. Add open
//!   routes after it, or use `route_layer`.
//! - **400 `body is not JSON…`, 422 `event has no type`, 422 `event has no payload`**: the body is
//!   authentic, but it is not an event. Take `Result<Event, EventRejection>` and `Delivery`, keep the
//!   bytes, and answer 200.
//! - **422 `event is … and not …`, `payload does not fit …`**: the handler takes a `Payload` of another
//!   type, or someone pressed the test button. Register the endpoint for this type only, use an
//!   `EventRouter`, or take a `Result`.
//! - **413 `Body too large`**: the body is longer than `max_body_size`. Raise the limit. If the
//!   text differs, a proxy rejected the body. Raise the proxy's limit.
//! - **413 `length limit exceeded`** from a handler that takes `Bytes` or `Json`: the body is
//!   longer than axum's `DefaultBodyLimit` of 2 MB. Raise it inside the layer.
//! - **415**: axum's `Json<T>` requires `Content-Type: application/json`, and custom headers of the
//!   endpoint can overwrite it. Take `Event` or `Delivery::json`, which ignore the header.
//! - **405**: the method is not `POST`. The [`IdempotencyLayer`](crate::idempotency) accepts no other.
//! - **400 `Body not received`**: the sender or a proxy closed the connection early. SoundHash
//!   sends the event again.
//! - **408 `Body not received in time`**: the sender stalls, or a proxy declares a body and does not
//!   send it. Check the proxy. Raise `body_timeout` if the network is slow.
//! - **503 `Service unavailable` with `Retry-After`**: the log has the reason. For
//!   `secrets_unavailable` and `store_unavailable`, check the error of the provider or the store.
//!   For `buffer_full`, buffer requests in a proxy, or raise `max_buffered`. `in_progress` is a
//!   retry during the first run.
//! - **A known type is `Unrecognized`**: the test button sent it, or SoundHash changed the payload.
//!   The field `reason` says what does not fit. Answer 2xx, and please report a new shape.
//! - **SoundHash reports timeouts, or the log says that a handler was cut off**: the handler takes
//!   more than 30 s. Store the event, answer, and do the work later: see [Past one
//!   machine](super::past_one_machine).
//! - **The same event arrives twice**: SoundHash delivers at least once. Use an
//!   [`IdempotencyLayer`](crate::idempotency).
//! - **Events arrive in the wrong order**: SoundHash does not promise an order. Compare
//!   `created_at`, or ask the API for the current state.
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
//! - **`secret is empty`**: `Secret::new` was called with an empty string. Use `Secret::from_env`
//!   or `Secret::try_from`, which return an error.
//! - **`there is no reactor running`**: the service had to wait for a body outside of a Tokio
//!   runtime. Run it in a Tokio runtime.
//!
//! ---
//!
//! Previous: [Logs and metrics](super::telemetry). Next: [Migrating](super::migrating). All
//! [guides](super).
