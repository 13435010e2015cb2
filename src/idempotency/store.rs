//! The trait that stores implement, and the token that proves a claim.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum_core::BoxError;

use super::key::Key;

/// A store that remembers which events are in progress and which are completed.
///
/// [`MemoryStore`](super::MemoryStore) is a store for a single process. The crates
/// `soundhash-webhook-redis` and `soundhash-webhook-sqlx` provide stores that several processes can
/// share, and the [module docs](super#a-store-of-your-own) show how to write your own.
///
/// A key is in one of three states: *free*, *claimed* by one token until its lease ends, or
/// *completed* until its retention period ends. Once the lease or retention period has ended
/// according to the store's own clock, the key is free again.
///
/// Each method must be **a single atomic operation** in the storage that all processes share. A
/// read followed by a separate write would let two deliveries through. `testing::store_conformance`
/// (feature `testing`) checks whether a store follows these rules, as far as a test can.
///
/// A store must limit its own time, because the layer does not, and it should fail fast, because
/// SoundHash waits only 30 s for a response. A [`claim`](Self::claim) that fails or is dropped may
/// leave the key claimed until the lease ends. If [`complete`](Self::complete) or
/// [`release`](Self::release) fails or is dropped, the layer can call it again with the same token.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Claims a free key for `lease`.
    ///
    /// If several calls run concurrently, exactly one of them returns [`Claim::Acquired`], with a
    /// token that no other call has ever returned.
    ///
    /// A call that returns [`Claim::Completed`] also restarts the retention period that was passed
    /// to [`complete`](Self::complete). SoundHash can repeat an event for days, and every duplicate
    /// must still be recognized.
    ///
    /// # Errors
    ///
    /// Returns an error if the state of the key is unknown. The layer then responds with 503.
    fn claim(
        &self,
        key: &Key,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, BoxError>> + Send;

    /// Ends the claim held by `token` and marks the key as completed for `retention`.
    ///
    /// Returns `true` if the key is now completed. If `token` no longer holds the key, because the
    /// lease has ended or another token has since claimed the key, this returns `false` and changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the completion may not have been recorded.
    fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        retention: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Ends the claim held by `token`, which frees the key.
    ///
    /// Returns `true` if the claim was ended. If `token` does not hold the key, this returns
    /// `false` and changes nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the release may not have been recorded.
    fn release(
        &self,
        key: &Key,
        token: ClaimToken,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;
}

/// The result of [`IdempotencyStore::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Claim {
    /// The key was free and is now held by this token.
    Acquired(ClaimToken),
    /// Another token holds the key.
    InProgress,
    /// The key is completed, and its retention period was restarted.
    Completed,
}

/// Proves that an event has been claimed. Only the token that holds a key can complete or release
/// it.
///
/// A lease can end while the handler is still running. Another delivery can then claim the key with
/// its own token, after which the first handler's token has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimToken(u128);

impl ClaimToken {
    /// Creates a token from the operating system's randomness.
    ///
    /// Because no process state is involved, tokens do not repeat after a fork, or in two virtual
    /// machines started from the same snapshot.
    ///
    /// # Panics
    ///
    /// Panics if the operating system cannot provide randomness.
    #[must_use]
    pub fn unique() -> Self {
        Self::generate().expect("randomness of the operating system")
    }

    /// Like [`unique`](Self::unique), but returns an error instead of panicking.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system cannot provide randomness.
    pub fn generate() -> Result<Self, BoxError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl From<u128> for ClaimToken {
    fn from(number: u128) -> Self {
        Self(number)
    }
}

impl From<ClaimToken> for u128 {
    fn from(token: ClaimToken) -> Self {
        token.0
    }
}

/// Writes the token as 32 hexadecimal digits.
impl fmt::Display for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl<S: IdempotencyStore> IdempotencyStore for Arc<S> {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        S::claim(self, key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        S::complete(self, key, token, time).await
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        S::release(self, key, token).await
    }
}
