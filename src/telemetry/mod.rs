//! Logging and metrics. No other module uses `tracing` or `metrics`.
//!
//! Every function takes plain values, so that this module does not import the rest of the crate.
//! Each file contains the log lines and metrics for one part of the crate, listed here in the order
//! in which a request reaches them:
//!
//! - `rejected`: requests to which `verify` or `idempotency` responds without calling the handler.
//! - `verified`: deliveries that `verify` accepts, and how long verification takes.
//! - `handler`: the span around the handler, handlers that fail or are canceled, and undecodable
//!   responses.
//! - `store`: calls to an idempotency store.
//! - `event`: bodies and events that the extractors do not recognize.
//!
//! `log` and `recorder` write the log lines and the metrics, or do nothing if their feature is off.
//! `metrics` contains the metric names, and `text` escapes values for the log.
//!
//! No function takes a body, a secret or a signature. Text from a request is escaped and truncated
//! before it is logged, and never becomes a metric label, so that requests cannot add time series.

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
    event::{new_field, of_another_type, undecodable, unknown_fields, unrecognized},
    handler::{DeliveryFields, Handling, detached, logged, undecodable_response, unheard},
    log::in_current_span,
    recorder::{start_idempotency, start_verification},
    rejected::{Rejected, RejectionLog, Severity, duplicate, layer_missing, rejected, skipped},
    store::{StoreStep, lease_lost, not_recorded, store_step},
    text::{escape, escape_up_to},
    verified::{Stopwatch, verified},
};

/// Returns whether anything is recorded. If not, callers can skip work that only the log or the
/// metrics need.
#[inline]
pub(crate) fn is_on() -> bool {
    // The `metrics` crate does not reveal whether a recorder is installed, so assume that one is.
    cfg!(feature = "metrics") || log::enabled!(ERROR)
}
