//! A clock for tests (feature `testing`).

use std::{sync::Arc, time::SystemTime};

use super::layer::IdempotencyLayer;

impl<St> IdempotencyLayer<St> {
    /// Sets the clock that [`max_age`](Self::max_age) is measured with (feature `testing`). The
    /// default is [`SystemTime::now`].
    ///
    /// Leases and retentions are measured with the store's clock.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(now);
        self
    }
}
