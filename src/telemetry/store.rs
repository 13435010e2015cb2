//! Calls to an idempotency store.

use std::{error::Error, time::Duration};

use axum_core::BoxError;

use super::{
    log::{log, log_limited},
    metrics, recorder,
    text::{chain, escape, milliseconds},
};

#[derive(Clone, Copy)]
pub(crate) enum StoreStep {
    Claim,
    Complete,
    Release,
}

impl StoreStep {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Release => "release",
        }
    }
}

/// Measures how long a call to an idempotency store takes from its first poll, even if the call is
/// dropped before it finishes.
pub(crate) async fn store_step<T>(
    step: StoreStep,
    call: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    let _timer = recorder::StoreTimer::start(metrics::STORE, step.as_str());
    let result = call.await;
    if result.is_err() {
        recorder::count(metrics::STORE_ERRORS, "operation", step.as_str());
    }
    result
}

/// Records that a claim ended before the handler's result was recorded, so the handler may run
/// twice.
pub(crate) fn lease_lost(key: &str, lease: Duration) {
    log_limited!(
        warn,
        key = escape(key),
        lease_ms = milliseconds(lease),
        "webhook handler outlived its lease, or the store lost the claim: \
         the event may be handled twice. Use a longer lease",
    );
    recorder::increment(metrics::LEASE_LOST);
}

/// Records that the store failed to record a handler's result.
pub(crate) fn not_recorded(key: &str, completed: bool, error: &(dyn Error + 'static)) {
    log_limited!(
        error,
        key = escape(key),
        completed = completed,
        error = chain(error),
        "idempotency store failed to record a handler's result: \
         the layer retries until the lease ends",
    );
    let step = match completed {
        true => StoreStep::Complete,
        false => StoreStep::Release,
    };
    recorder::count(metrics::NOT_RECORDED, "operation", step.as_str());
}
