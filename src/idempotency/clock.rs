//! A clock for tests (feature `testing`).

use std::{sync::Arc, time::SystemTime};

use super::layer::IdempotencyLayer;

impl<St> IdempotencyLayer<St> {
    /// Sets the clock with which [`max_age`](Self::max_age) is measured (feature `testing`). The
    /// default is [`SystemTime::now`].
    ///
    /// It does not affect leases and retentions, which the store measures with its own clock.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(now);
        self
    }
}
