use std::{future::Future, sync::Arc, time::Duration};

use axum_core::BoxError;

use super::{key::Key, token::Token};

/// Remembers which events are being worked on and which are done.
///
/// Two come with the crate: [`MemoryStore`](super::MemoryStore) for one process and
/// `RedisStore` (feature `redis`) for a fleet. The [guide](super#a-store-of-your-own) shows
/// another.
///
/// A key is in one of three states: *free*, *claimed* by one token until its lease runs out,
/// or *completed* until its retention runs out. Both ends are by the store's own clock, and
/// lead back to *free*.
///
/// Each method is **one atomic step** in the place that all processes share: a look and a
/// later write let two deliveries through. `testing::store_conformance` (feature `testing`)
/// finds out whether a store keeps to this, as far as a test can.
///
/// A failure should come soon: while a store thinks, SoundHash's 30 s run. What a failed or
/// abandoned [`claim`](Self::claim) may have left behind is ended by its lease.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Claims a free key for `lease`.
    ///
    /// Of any number of concurrent calls, one is answered [`Claim::Acquired`], with a token
    /// that was never given before.
    ///
    /// # Errors
    ///
    /// When the state is not known. The delivery is answered with 503.
    fn claim(
        &self,
        key: &Key,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, BoxError>> + Send;

    /// Turns the claim of `token` into a completed key, for `retention`.
    ///
    /// Answers whether it did. If `token` does not hold the key (any more), because its lease
    /// ran out, whether or not another claimed it since, this changes nothing and answers
    /// `false`.
    ///
    /// # Errors
    ///
    /// When it is not known to be recorded.
    fn complete(
        &self,
        key: &Key,
        token: Token,
        retention: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Ends the claim of `token`: the key is free.
    ///
    /// Answers whether it did; otherwise as [`complete`](Self::complete).
    ///
    /// # Errors
    ///
    /// When it is not known to be recorded.
    fn release(
        &self,
        key: &Key,
        token: Token,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;
}

/// What came of an [`IdempotencyStore::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Claim {
    /// The key was free and is now held by this token.
    Acquired(Token),
    /// Another holds it.
    InProgress,
    /// It was completed within its retention.
    Completed,
}

impl<S: IdempotencyStore> IdempotencyStore for Arc<S> {
    fn claim(
        &self,
        key: &Key,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, BoxError>> + Send {
        S::claim(self, key, lease)
    }

    fn complete(
        &self,
        key: &Key,
        token: Token,
        retention: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        S::complete(self, key, token, retention)
    }

    fn release(
        &self,
        key: &Key,
        token: Token,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        S::release(self, key, token)
    }
}
