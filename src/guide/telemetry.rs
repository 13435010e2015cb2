//! Logs and metrics: every line, every metric, and what to alert on.
//!
//! # Logs
//!
//! With the feature `tracing`, which is on by default, the crate logs under the target
//! `soundhash_webhook`. At the default level you see what costs an authentic delivery, and a summary of
//! what was rejected. Nothing needs to be configured except a subscriber, such as
//! `tracing_subscriber::fmt::init()`.
//!
//! ## Rejections
//!
//! - `warn`, **`webhook rejected: <reason>: <advice>`**, for the first rejection of a reason, with the
//!   fields `reason` (see [`RejectionKind::as_str`] and [`OutcomeKind::as_str`]), `path`, `endpoint` and
//!   `error`. A wrong secret therefore shows at the first delivery.
//! - `warn`, **`12 requests rejected in the last minute: wrong_signature 12`**, at most once a minute and
//!   reason, with `reason`, `count`, `window_s`, and the `path` and `endpoint` of the latest. A summary
//!   that is due is written with the next rejected or accepted request.
//! - `debug`, **`webhook rejected: <reason>`**, for each of the others.
//!
//! Both lines are at `error` for the reasons that you caused and not the sender: `secrets_unavailable`,
//! `store_unavailable`, `unverified` (the layers are in the wrong order) and `layer_missing`. An
//! attacker controls neither the rate nor the content of these lines.
//!
//! ## Deliveries
//!
//! A span `soundhash_webhook.delivery` with the fields `id`, `event_type` and `endpoint` surrounds the
//! handler, so that your own log lines carry them too. It is a child of the span that is current. The
//! layer never reads `traceparent`, because headers are not signed. Inside the span:
//!
//! - `info`, **`webhook already handled`**: a duplicate was answered from memory.
//! - `info`, **`webhook test received`**: SoundHash's test button sent a payload that does not fit its
//!   type, or an unknown type, as usual for a test.
//! - `warn`, **`webhook event not recognized`**: the payload does not fit its type, or the type is
//!   unknown. The event is [`Unrecognized`].
//! - `warn`, **`webhook event has another type than its handler takes`**, with `expected`: the handler
//!   takes a [`Payload`].
//! - `warn`, **`webhook body is not an event`**, with `error`.
//! - `warn`, **`webhook handler cut off`**, with `elapsed_ms`: the handler did not finish, usually
//!   because SoundHash stopped waiting after 30 s.
//! - `warn`, **`webhook handler outlived its lease`**, with `key` and `lease_ms`: the event may be acted
//!   on twice.
//! - `error`, **`idempotency store failed to record a handler's result`**, with `key`, `completed` and
//!   `error`. The layer retries until the lease ends.
//! - `debug`, **`webhook verified`**, before the span and with the same fields, and `bytes`,
//!   `matched_secret`, `waited_ms` and `hashed_ms`.
//!
//! ## What is never logged
//!
//! No secret, signature, body or query is logged at any level. Ids, types, keys, endpoints and paths are
//! cut to 64 characters and errors to 256. Control characters, and characters that are invisible or
//! reverse the direction of text, are escaped. Durations are fractional milliseconds.
//!
//! # Metrics
//!
//! With the feature `metrics`, the crate counts and measures through the [`metrics`] facade. It costs
//! little without a recorder, and you choose the exporter. With Prometheus:
//!
//! ```console
//! $ cargo add soundhash-webhook --features metrics
//! $ cargo add metrics-exporter-prometheus --no-default-features
//! ```
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
//! use soundhash_webhook::{Event, SoundHashWebhookLayer};
//!
//! const SECONDS: [f64; 8] = [5e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0];
//! const BYTES: [f64; 6] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];
//!
//! fn app() -> Result<Router, BuildError> {
//!     // Without buckets, this exporter turns histograms into summaries.
//!     let metrics = PrometheusBuilder::new()
//!         .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
//!         .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
//!         .install_recorder()?;
//!     let scrape = async move || {
//!         // Keeps the histograms small.
//!         metrics.run_upkeep();
//!         metrics.render()
//!     };
//!     Ok(Router::new()
//!         .route("/webhooks/soundhash", post(|_: Event| async {}))
//!         .layer(SoundHashWebhookLayer::new("whsec_test"))
//!         // Added after the layer, which does not protect it.
//!         .route("/metrics", get(scrape)))
//! }
//! # app().unwrap();
//! ```
//!
//! The example `metrics` serves them on a separate address that is not public.
//!
//! All names begin with `soundhash_webhook_`.
//!
//! Counters:
//!
//! - **`deliveries_total`** (`outcome`, `event_type`): requests that the layer decided on.
//! - **`matched_secret_total`** (`index`): accepted deliveries by secret. 0 is the current one, so the
//!   old secret of a rotation is out of use when only 0 rises.
//! - **`unrecognized_total`** (`event_type`): events that became [`Unrecognized`], without tests.
//! - **`not_acted_on_total`** (`reason`): deliveries that the [`IdempotencyLayer`] answered instead of
//!   the handler, such as duplicates.
//! - **`handlers_cut_off_total`**: handlers that did not finish.
//! - **`lease_lost_total`**: handlers that outlived their lease, or whose claim the store lost.
//! - **`not_recorded_total`** (`operation`): results that the store did not record at once.
//! - **`store_errors_total`** (`operation`): failed operations of the store.
//!
//! Histograms:
//!
//! - **`body_bytes`**: size of accepted bodies.
//! - **`body_wait_seconds`**: time that accepted bodies were waited for.
//! - **`verification_seconds`**: time to hash and compare accepted bodies.
//! - **`store_seconds`** (`operation`): duration of the store's operations, including failed ones and
//!   those that were abandoned because the sender hung up.
//!
//! Labels:
//!
//! - `outcome` is `accepted`, or [`RejectionKind::as_str`]. If the server drops a request because the
//!   sender hung up before the end of the body, nothing is counted.
//! - `event_type` is a known type, `other` for every other type, and `none` for rejected requests and
//!   bodies that are not events.
//! - `reason` is [`OutcomeKind::as_str`].
//! - `operation` is `claim` before the handler runs, `complete` after a success, and `release` after
//!   anything else.
//!
//! No other label comes from a request, so an attacker cannot create time series.
//!
//! # Alerts
//!
//! Alert on these expressions, where `…` stands for `soundhash_webhook`:
//!
//! - `rate(…_deliveries_total{outcome="accepted"}[1h]) == 0`: nothing arrives, or nothing is valid.
//! - `rate(…_deliveries_total{outcome="secrets_unavailable"}[5m]) > 0`: the secret look-up fails.
//! - `rate(…_deliveries_total{outcome="buffer_full"}[5m]) > 0`: an attacker sends many bodies slowly,
//!   or `max_buffered` is too small.
//! - `rate(…_deliveries_total{outcome="accepted",event_type="none"}[1h]) > 0`: authentic deliveries
//!   that are not events.
//! - `rate(…_unrecognized_total{event_type!="other"}[1h]) > 0`: SoundHash changed a payload, and your
//!   handler did not see it.
//! - `rate(…_handlers_cut_off_total[1h]) > 0`: a handler takes longer than SoundHash waits.
//! - `rate(…_not_acted_on_total{reason="store_unavailable"}[5m]) > 0`: the store fails, and SoundHash
//!   drops the events after at most seven minutes.
//! - `rate(…_not_recorded_total{operation="complete"}[5m]) > 0`: an event was acted on, and the store
//!   does not know it.
//! - `rate(…_lease_lost_total[1h]) > 0`: an event may have been acted on twice. Use a longer lease.
//! - `histogram_quantile(0.99, rate(…_store_seconds_bucket[5m])) > 1`: the store is slow, and every
//!   delivery waits for it twice.
//! - `rate(…_not_acted_on_total{reason="from_the_future"}[1h]) > 0`: a clock is wrong.
//! - `rate(…_not_acted_on_total{reason="unverified"}[5m]) > 0`: the layers are in the wrong order.
//!
//! Do not alert on `wrong_signature` alone, because an attacker can cause it. `duplicate` and
//! `in_progress` are SoundHash's retries: a rise means that your answers are late or failing. `too_old`
//! is a replay, or an endpoint that was away for long.
//!
//! # Cost
//!
//! The id and the type are inside the body. If a subscriber enables the span, or the feature `metrics`
//! is on, the layer parses the envelope of each verified delivery, and an [`Event`] argument reuses the
//! result. A handler that does not take an [`Event`] then pays for parsing, about 2 µs. Otherwise the
//! layer parses no JSON and reads no clock.
//!
//! ---
//!
//! Previous: [Going live](super::going_live). Next: [Troubleshooting](super::troubleshooting). All
//! [guides](super).
//!
//! [`Event`]: crate::Event
//! [`IdempotencyLayer`]: crate::idempotency::IdempotencyLayer
//! [`OutcomeKind::as_str`]: crate::idempotency::OutcomeKind::as_str
//! [`Payload`]: crate::Payload
//! [`RejectionKind::as_str`]: crate::RejectionKind::as_str
//! [`Unrecognized`]: crate::Unrecognized
//! [`metrics`]: https://docs.rs/metrics
