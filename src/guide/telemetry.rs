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
//! | `warn` | `webhook event not recognized` | an [`Event`] argument became [`Unrecognized`] | `event_type` |
//! | `warn` | `webhook body is not an event` | an [`Event`] argument could not be had | `error` |
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
//! application's to choose, and `examples/metrics.rs` shows one.
//!
//! | metric | kind | labels | |
//! | --- | --- | --- | --- |
//! | `soundhash_webhook_deliveries_total` | counter | `outcome`, `event_type` | requests that the layer decided on |
//! | `soundhash_webhook_matched_secret_total` | counter | `index` | accepted ones by secret: 0 is the current one, so the old secret of a rotation is out of use when only 0 rises |
//! | `soundhash_webhook_unrecognized_total` | counter | `event_type` | [`Event`] arguments that became [`Unrecognized`] |
//! | `soundhash_webhook_body_bytes` | histogram | | size of accepted bodies |
//! | `soundhash_webhook_body_wait_seconds` | histogram | | how long accepted bodies were waited for |
//! | `soundhash_webhook_verification_seconds` | histogram | | how long they were hashed and compared |
//!
//! - `outcome` is `accepted`, or the reason of the refusal as [`RejectionKind::as_str`] names it.
//!   A sender that hangs up before the body's end leaves no outcome if the server drops the
//!   request with it.
//! - `event_type` is a type that this version knows, `other` for all that it does not, and `none`
//!   for what was refused and for a body that is no event.
//! - No label comes from a request otherwise: nobody outside can make the number of time series
//!   grow.
//!
//! What deserves an alert:
//!
//! | expression | meaning |
//! | --- | --- |
//! | `rate(…_deliveries_total{outcome="accepted"}[1h]) == 0` | nothing arrives, or nothing matches |
//! | `rate(…_deliveries_total{outcome="secrets_unavailable"}[5m]) > 0` | the look-up of secrets fails, SoundHash has to retry |
//! | `rate(…_deliveries_total{outcome="buffer_full"}[5m]) > 0` | somebody sends many bodies slowly, or `max_buffered` is too small |
//! | `rate(…_deliveries_total{outcome="accepted",event_type="none"}[1h]) > 0` | authentic deliveries that are no events |
//!
//! Not on `wrong_signature` alone: anybody can cause it.
//!
//! # What it costs
//!
//! The type stands in the body. To tell it, the layer reads the envelope of each verified
//! delivery if the feature `metrics` is on or somebody listens at `debug`; the [`Event`]
//! argument of a handler then uses what was read, so it costs a handler without one only. Otherwise
//! the layer reads no JSON and no clock.
//!
//! [`Event`]: crate::Event
//! [`RejectionKind::as_str`]: crate::RejectionKind::as_str
//! [`SecretProvider`]: crate::SecretProvider
//! [`Unrecognized`]: crate::Unrecognized
//! [`metrics`]: https://docs.rs/metrics
