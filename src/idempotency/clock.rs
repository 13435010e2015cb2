//! A clock for tests (feature `testing`).

use std::{sync::Arc, time::SystemTime};

use super::layer::IdempotencyLayer;

impl<St> IdempotencyLayer<St> {
    /// Sets the clock that measures [`max_age`](Self::max_age) (feature `testing`). The default is
    /// [`SystemTime::now`].
    ///
    /// This does not affect leases or retention, which the store measures with its own clock.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(now);
        self
    }
}
