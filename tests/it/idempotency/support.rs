//! Stores that deliberately fail.

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
use tokio::time::sleep;

/// A store that fails a given number of upcoming calls. It waits for `delay` before it ends a
/// claim, and for `reply_delay` before it replies.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: Arc<MemoryStore>,
    pub(crate) claims_fail: Arc<AtomicUsize>,
    pub(crate) ends_fail: Arc<AtomicUsize>,
    pub(crate) delay: Duration,
    pub(crate) reply_delay: Duration,
}

fn fail(count: &AtomicUsize) -> Result<(), BoxError> {
    let less = |count: usize| count.checked_sub(1);
    match count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
        Ok(_) => Err("store is\ndown".into()),
        Err(_) => Ok(()),
    }
}

impl Faulty {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(10_000)),
            claims_fail: Arc::default(),
            ends_fail: Arc::default(),
            delay: Duration::ZERO,
            reply_delay: Duration::ZERO,
        }
    }

    async fn before_end(&self) -> Result<(), BoxError> {
        sleep(self.delay).await;
        fail(&self.ends_fail)
    }
}

impl IdempotencyStore for Faulty {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        fail(&self.claims_fail)?;
        self.inner.claim(key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        self.before_end().await?;
        let ended = self.inner.complete(key, token, time).await;
        sleep(self.reply_delay).await;
        ended
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        self.before_end().await?;
        let ended = self.inner.release(key, token).await;
        sleep(self.reply_delay).await;
        ended
    }
}

/// A store that grants every claim. Completing or releasing a claim returns the result of this
/// function.
pub(crate) struct Ends<F>(pub(crate) F);

impl<F, Fut> IdempotencyStore for Ends<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<bool, BoxError>> + Send,
{
    async fn claim(&self, _: &Key, _: Duration) -> Result<Claim, BoxError> {
        Ok(Claim::Acquired(ClaimToken::unique()))
    }

    async fn complete(&self, _: &Key, _: ClaimToken, _: Duration) -> Result<bool, BoxError> {
        self.0().await
    }

    async fn release(&self, _: &Key, _: ClaimToken) -> Result<bool, BoxError> {
        self.0().await
    }
}
