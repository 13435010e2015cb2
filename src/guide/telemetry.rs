//! Logs and metrics: every log line, every metric, and useful alerts.
//!
//! # Logs
//!
//! With the feature `tracing`, which is on by default, the crate logs under the target
//! `soundhash_webhook`. The default level shows every problem with an authentic delivery, and a
//! summary of rejected requests. You only need a subscriber, such as
//! `tracing_subscriber::fmt::init()`.
//!
//! ## Rejections
//!
//! - `warn`, **`webhook rejected: <reason>: <advice>`**, for the first rejection with a reason. The
//!   fields are `reason` (see [`RejectionKind::as_str`] and [`OutcomeKind::as_str`]), `path`,
//!   `endpoint` and `error`. A wrong secret is therefore logged at the first delivery.
//! - `warn`, **`12 requests rejected in the last minute: wrong_signature 12`**, at most once per
//!   minute and reason. The fields are `reason`, `count`, `window_s`, and the `path` and `endpoint`
//!   of the latest request. The first request after the minute, rejected or accepted, writes this
//!   line.
//! - `debug`, **`webhook rejected: <reason>`**, for every other rejection.
//!
//! The first two lines are at `error` if the receiver caused the rejection and not the sender. The
//! reasons are `secrets_unavailable`, `store_unavailable`, `unverified` (the layers are in the
//! wrong order) and `layer_missing`. An attacker cannot flood the log or forge lines in it.
//!
//! ## Deliveries
//!
//! The handler runs in a span `soundhash_webhook.delivery` with the fields `id`, `event_type` and
//! `endpoint`, so that your own log lines have these fields, too. The span is a child of the
//! current span. The layer never reads `traceparent`, because headers are not signed. These lines
//! are inside the span:
//!
//! - `info`, **`webhook already handled`**: the event was completed before, so the layer answered
//!   in place of the handler.
//! - `info`, **`webhook test received`**: SoundHash's test button sent an unknown type, or a
//!   payload that does not fit its type. This is usual for a test.
//! - `warn`, **`webhook event not recognized`**: the payload does not fit its type, or the type is
//!   unknown. The event is [`Unrecognized`].
//! - `warn`, **`webhook event has another type than its handler takes`**, with `expected`: the handler
//!   takes a [`Payload`].
//! - `warn`, **`webhook body is not an event`**, with `error`: the [`Event`] extractor cannot parse
//!   the body.
//! - `warn`, **`webhook handler cut off`**, with `elapsed_ms`: the handler did not finish, usually
//!   because SoundHash stopped waiting after 30 s.
//! - `warn`, **`webhook handler outlived its lease`**, with `key` and `lease_ms`: the event may be acted
//!   on twice.
//! - `error`, **`idempotency store failed to record a handler's result`**, with `key`, `completed` and
//!   `error`. The layer retries until the lease ends.
//! - `debug`, **`webhook verified`**, outside of the span: the layer accepted a delivery. The
//!   fields are those of the span, `bytes`, `matched_secret`, `waited_ms` and `hashed_ms`.
//!
//! ## What is never logged
//!
//! No secret, signature, body or query is logged at any level. Ids, types, keys, endpoints and
//! paths are truncated to 64 characters, and errors to 256. Control characters, and characters that
//! are invisible or reverse the direction of text, are escaped. Durations are fractional
//! milliseconds.
//!
//! # Metrics
//!
//! With the feature `metrics`, the crate counts and measures deliveries through the [`metrics`]
//! facade. You choose the exporter. Without a recorder, the metrics cost little. This example
//! exports them to Prometheus:
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
//! The example `metrics` serves the metrics on a separate address that is not public.
//!
//! All names begin with `soundhash_webhook_`.
//!
//! Counters:
//!
//! - **`deliveries_total`** (`outcome`, `event_type`): requests that the layer decided on.
//! - **`matched_secret_total`** (`index`): accepted deliveries by secret. The current secret has
//!   the index
//!   0. When only 0 rises, SoundHash no longer uses the old secret of a rotation.
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
//! - **`body_wait_seconds`**: time that the layer waited for accepted bodies.
//! - **`verification_seconds`**: time to hash accepted bodies and compare signatures.
//! - **`store_seconds`** (`operation`): duration of the store's operations. This includes
//!   operations that failed, and those that were abandoned because the sender hung up.
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
//! - `rate(…_deliveries_total{outcome="accepted"}[1h]) == 0`: no deliveries arrive, or all are
//!   rejected.
//! - `rate(…_deliveries_total{outcome="secrets_unavailable"}[5m]) > 0`: the secret look-up fails.
//! - `rate(…_deliveries_total{outcome="buffer_full"}[5m]) > 0`: an attacker sends many bodies slowly,
//!   or `max_buffered` is too small.
//! - `rate(…_deliveries_total{outcome="accepted",event_type="none"}[1h]) > 0`: authentic deliveries
//!   that are not events.
//! - `rate(…_unrecognized_total{event_type!="other"}[1h]) > 0`: SoundHash changed a payload, and your
//!   handler did not see it.
//! - `rate(…_handlers_cut_off_total[1h]) > 0`: a handler takes longer than SoundHash waits.
//! - `rate(…_not_acted_on_total{reason="store_unavailable"}[5m]) > 0`: the store fails, and SoundHash
//!   drops the events after its last retry.
//! - `rate(…_not_recorded_total{operation="complete"}[5m]) > 0`: the store failed to record that an
//!   event was completed, so the event may run again.
//! - `rate(…_lease_lost_total[1h]) > 0`: an event may have been acted on twice. Use a longer lease.
//! - `histogram_quantile(0.99, rate(…_store_seconds_bucket[5m])) > 1`: the store is slow, and every
//!   delivery waits for it twice.
//! - `rate(…_not_acted_on_total{reason="from_the_future"}[1h]) > 0`: a clock is wrong.
//! - `rate(…_not_acted_on_total{reason="unverified"}[5m]) > 0`: the layers are in the wrong order.
//!
//! Do not alert on `wrong_signature` alone, because an attacker can cause it. `duplicate` and
//! `in_progress` count SoundHash's retries. If they rise, your answers are late or get lost.
//! `too_old` counts replays, and deliveries that SoundHash's retry job repeats after days.
//!
//! # Cost
//!
//! The id and the type of an event are inside the body. If a subscriber enables the span, or if the
//! feature `metrics` is on, the layer parses the envelope of each verified delivery. The [`Event`]
//! extractor reuses the result. With a handler that does not take an [`Event`], this costs about 2
//! µs. Without the span and the feature, the layer neither parses JSON nor reads a clock.
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
