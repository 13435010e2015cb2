//! The steps of an idempotency store.

use std::{error::Error, time::Duration};

use axum_core::BoxError;

#[cfg(feature = "metrics")]
use super::metrics;
#[cfg(feature = "tracing")]
use super::{
    TARGET,
    text::{chain, escape, milliseconds},
};

/// A call of an idempotency store.
#[derive(Clone, Copy)]
pub(crate) enum StoreStep {
    Claim,
    Complete,
    Release,
}

impl StoreStep {
    /// Returns the name of the store's method.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Release => "release",
        }
    }
}

/// Measures a call of an idempotency store from its first poll, even if the call is dropped.
pub(crate) async fn store_step<T>(
    step: StoreStep,
    call: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    #[cfg(feature = "metrics")]
    let _timer = metrics::StoreTimer::start(step);
    let result = call.await;
    #[cfg(feature = "metrics")]
    if result.is_err() {
        metrics::count(metrics::STORE_ERRORS, "operation", step.as_str());
    }
    result
}

/// Records that a claim ended before its handler's result was recorded. The event may run twice.
pub(crate) fn lease_lost(key: &str, lease: Duration) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: TARGET,
        key = escape(key),
        lease_ms = milliseconds(lease),
        "webhook handler outlived its lease, or the store lost the claim: \
         the event may be handled twice. Use a longer lease",
    );
    #[cfg(feature = "metrics")]
    ::metrics::counter!(metrics::LEASE_LOST).increment(1);
}

/// Records that the store failed to record a handler's result.
pub(crate) fn not_recorded(key: &str, completed: bool, error: &(dyn Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::error!(
        target: TARGET,
        key = escape(key),
        completed,
        error = chain(error),
        "idempotency store failed to record a handler's result: \
         the layer retries until the lease ends",
    );
    #[cfg(feature = "metrics")]
    {
        let step = match completed {
            true => StoreStep::Complete,
            false => StoreStep::Release,
        };
        metrics::count(metrics::NOT_RECORDED, "operation", step.as_str());
    }
}
