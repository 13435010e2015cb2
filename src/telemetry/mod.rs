//! The log and the metrics. Only this module uses `tracing` and `metrics`.
//!
//! Every function takes plain values, so that this module does not import the rest of the crate. Each
//! file has the log lines and the metrics of one part of the crate, in the order in which a request
//! reaches them:
//!
//! - `rejected`: requests to which a layer responds in place of the handler, for `verify` and
//!   `idempotency`.
//! - `verified`: deliveries that `verify` accepts, and the time that this took.
//! - `handler`: the span around the handler, and handlers that are canceled.
//! - `store`: the steps of an idempotency store.
//! - `event`: bodies that the extractors do not understand.
//!
//! `log` and `recorder` record the values, or nothing without their features. `metrics` has the names
//! of the metrics, and `text` prepares values for the log.
//!
//! No function takes a body, a secret or a signature. Text from a request is escaped and truncated
//! before it is logged, and is never a metric's label, so that requests cannot add time series.

mod event;
mod handler;
mod log;
mod metrics;
#[cfg_attr(not(feature = "metrics"), path = "no_recorder.rs")]
mod recorder;
mod rejected;
mod store;
mod text;
mod verified;

pub(crate) use self::{
    event::{Mismatch, new_field, of_another_type, undecodable, unknown_fields, unrecognized},
    handler::{DeliveryFields, Handling, detached, undecodable_response},
    log::in_current_span,
    rejected::{Rejected, RejectionLog, Severity, duplicate, layer_missing, rejected, skipped},
    store::{StoreStep, lease_lost, not_recorded, store_step},
    text::{escape, escape_up_to},
    verified::{Stopwatch, verified},
};

/// Returns whether anything is recorded at all. If not, callers can skip work that only the log or
/// the metrics need.
#[inline]
pub(crate) fn is_on() -> bool {
    // The `metrics` crate does not say whether a recorder is installed.
    cfg!(feature = "metrics") || log::enabled!(ERROR)
}
