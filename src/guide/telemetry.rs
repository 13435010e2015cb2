//! What it logs, counts and measures.
//!
//! # Logs
//!
//! With the feature `tracing`, which is on by default, the crate logs under the target
//! `soundhash_webhook`:
//!
//! | level | message | when | fields |
//! | --- | --- | --- | --- |
//! | `debug` | `webhook verified` | a delivery is authentic | `event_type`, `id`, `endpoint`, `bytes`, `matched_secret`, `waited` for the body, `hashed` it so long |
//! | `debug` | `webhook refused` | it was not | `reason` (see [`RejectionKind::as_str`]), `source` |
//! | `debug` | `webhook not acted on` | the idempotency layer answered instead of the handler | `reason`, `source` |
//! | `warn` | `webhook event not recognized` | an [`Event`] argument became [`Unrecognized`], or an `EventRouter` accepted an event that nobody understood | `event_type` |
//! | `warn` | `webhook event is of another type …` | a [`Payload`] argument could not be had, since the event has another | `event_type`, `expected` |
//! | `warn` | `webhook body is not an event` | an [`Event`] or [`Payload`] argument could not be had, or an `EventRouter` refused the body | `error` |
//! | `warn` | `webhook handler outlived its lease …` | an event may be acted on twice | `key`, `lease` |
//! | `error` | `webhook not acted on` | the idempotency store failed, or the layers stand in the wrong order | `reason`, `source` |
//! | `error` | `idempotency store failed …` | it did not hear how a handler ended | `key`, `completed`, `error` |
//! | `error` | `webhook refused` | a [`SecretProvider`] failed | `reason`, `source` |
//! | `error` | `no SoundHashWebhookLayer …` | a handler is not protected | |
//!
//! Refusals are at `debug` because a stranger chooses how many there are. No secret, no
//! signature and no payload is logged at any level. Of a delivery, its id and its type are, cut to
//! 64 characters; fields without a value are left out.
//!
//! # Metrics
//!
//! With the feature `metrics`, the crate counts and measures through the [`metrics`] facade. It
//! costs little without a recorder; which one there is, Prometheus or another, is the
//! application's to choose. With Prometheus:
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
//!     // Without buckets, this exporter makes summaries of histograms.
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
//!         // Below the layer, which does not protect it.
//!         .route("/metrics", get(scrape)))
//! }
//! # app().unwrap();
//! ```
//!
//! The example `metrics` serves them on an address of its own, where strangers do not come.
//!
//! | metric | kind | labels | |
//! | --- | --- | --- | --- |
//! | `soundhash_webhook_deliveries_total` | counter | `outcome`, `event_type` | requests that the layer decided on |
//! | `soundhash_webhook_matched_secret_total` | counter | `index` | accepted ones by secret: 0 is the current one, so the old secret of a rotation is out of use when only 0 rises |
//! | `soundhash_webhook_unrecognized_total` | counter | `event_type` | events that nobody understood: what the log says at `warn` |
//! | `soundhash_webhook_body_bytes` | histogram | | size of accepted bodies |
//! | `soundhash_webhook_body_wait_seconds` | histogram | | how long accepted bodies were waited for |
//! | `soundhash_webhook_verification_seconds` | histogram | | how long they were hashed and compared |
//! | `soundhash_webhook_not_acted_on_total` | counter | `reason` | deliveries that the [`IdempotencyLayer`] answered in the handler's place: duplicates, and all else |
//! | `soundhash_webhook_lease_lost_total` | counter | | handlers that outlived their lease, or whose claim the store forgot |
//! | `soundhash_webhook_not_recorded_total` | counter | `operation` | handlers whose end the store did not hear of at once; it is told again until the lease ends |
//! | `soundhash_webhook_store_seconds` | histogram | `operation` | how long a step of the store took; its count is that of all steps |
//! | `soundhash_webhook_store_errors_total` | counter | `operation` | steps of the store that failed |
//!
//! - `outcome` is `accepted`, or the reason of the refusal as [`RejectionKind::as_str`] names it.
//!   A sender that hangs up before the body's end leaves no outcome if the server drops the
//!   request with it.
//! - `event_type` is a type that this version knows, `other` for all that it does not, and `none`
//!   for what was refused and for a body that is no event.
//! - `reason` is [`OutcomeKind::as_str`]: `duplicate`, `in_progress`, `store_unavailable`, `too_old`,
//!   `undated`, `from_the_future` or `unverified`.
//! - `operation` is `claim` before the handler runs, `complete` after a success, `release` after
//!   anything else. A step that failed is measured, too, and so is one that was given up because
//!   the sender hung up: a store that does not answer at all is a long `claim`.
//! - No label comes from a request otherwise: nobody outside can make the number of time series
//!   grow.
//!
//! # Alerts
//!
//! What deserves one, where `…` is `soundhash_webhook`:
//!
//! | expression | meaning |
//! | --- | --- |
//! | `rate(…_deliveries_total{outcome="accepted"}[1h]) == 0` | nothing arrives, or nothing matches |
//! | `rate(…_deliveries_total{outcome="secrets_unavailable"}[5m]) > 0` | the look-up of secrets fails, SoundHash has to retry |
//! | `rate(…_deliveries_total{outcome="buffer_full"}[5m]) > 0` | somebody sends many bodies slowly, or `max_buffered` is too small |
//! | `rate(…_deliveries_total{outcome="accepted",event_type="none"}[1h]) > 0` | authentic deliveries that are no events |
//! | `rate(…_unrecognized_total{event_type!="other"}[1h]) > 0` | payloads that do not fit their type, so that its handler did not see them: SoundHash changed them, or somebody pressed its test button |
//! | `rate(…_not_acted_on_total{reason="store_unavailable"}[5m]) > 0` | the store fails, SoundHash has to retry: you have seven minutes |
//! | `rate(…_not_recorded_total{operation="complete"}[5m]) > 0` | an event was acted on and the store does not know it; if it is away until the lease ends, a recorded delivery could act once more |
//! | `rate(…_lease_lost_total[1h]) > 0` | an event may have been acted on twice: a longer lease, or a store that keeps what it is told |
//! | `histogram_quantile(0.99, rate(…_store_seconds_bucket[5m])) > 1` | the store is slow, and every delivery waits for it twice |
//! | `rate(…_not_acted_on_total{reason="from_the_future"}[1h]) > 0` | a clock is wrong |
//! | `rate(…_not_acted_on_total{reason="unverified"}[5m]) > 0` | the layers stand in the wrong order |
//!
//! Not on `wrong_signature` alone: anybody can cause it. Not on `duplicate` or `in_progress` either:
//! these are SoundHash's retries, and their rise says that answers are late or failing. `too_old`
//! is a replay, or an endpoint that was away for long.
//!
//! # What it costs
//!
//! The type stands in the body. To tell it, the layer reads the envelope of each verified
//! delivery if the feature `metrics` is on or somebody listens at `debug`; the [`Event`]
//! argument of a handler then uses what was read, so it costs a handler without one only. Otherwise
//! the layer reads no JSON and no clock.
//!
//! [`Event`]: crate::Event
//! [`Payload`]: crate::Payload
//! [`OutcomeKind::as_str`]: crate::idempotency::OutcomeKind::as_str
//! [`IdempotencyLayer`]: crate::idempotency::IdempotencyLayer
//! [`RejectionKind::as_str`]: crate::RejectionKind::as_str
//! [`SecretProvider`]: crate::SecretProvider
//! [`Unrecognized`]: crate::Unrecognized
//! [`metrics`]: https://docs.rs/metrics
