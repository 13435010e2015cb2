//! Stores that fail on purpose.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::BoxError;
use soundhash_webhook::idempotency::{Claim, ClaimToken, IdempotencyStore, Key, MemoryStore};
pub(crate) use soundhash_webhook_tests::idempotency::*;

/// A store that fails as many of its next calls as these numbers say, and that takes `delay` to end
/// a claim.
#[derive(Clone)]
pub(super) struct Faulty {
    pub(super) inner: Arc<MemoryStore>,
    pub(super) claims_fail: Arc<AtomicUsize>,
    pub(super) ends_fail: Arc<AtomicUsize>,
    pub(super) delay: Duration,
}

impl Faulty {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(100)),
            claims_fail: Arc::default(),
            ends_fail: Arc::default(),
            delay: Duration::ZERO,
        }
    }
}

async fn fail(count: &AtomicUsize, delay: Duration) -> Result<(), BoxError> {
    tokio::time::sleep(delay).await;
    let less = |count: usize| count.checked_sub(1);
    match count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
        Ok(_) => Err("store is down".into()),
        Err(_) => Ok(()),
    }
}

impl IdempotencyStore for Faulty {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        fail(&self.claims_fail, Duration::ZERO).await?;
        self.inner.claim(key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.complete(key, token, time).await
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.release(key, token).await
    }
}

/// A store that records each end of a claim at once, and replies a second later.
#[cfg(feature = "metrics")]
pub(super) struct LateReplies(MemoryStore);

#[cfg(feature = "metrics")]
impl Default for LateReplies {
    fn default() -> Self {
        Self(MemoryStore::new(100))
    }
}

#[cfg(feature = "metrics")]
impl IdempotencyStore for LateReplies {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        self.0.claim(key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        retention: Duration,
    ) -> Result<bool, BoxError> {
        let result = self.0.complete(key, token, retention).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        let result = self.0.release(key, token).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    }
}
