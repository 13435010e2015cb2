mod checks;
mod expiry;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::idempotency::{Claim, IdempotencyStore, Key, Token};

/// A time that does not end while the tests run.
const LONG: Duration = Duration::from_secs(3600);
/// A time that is over soon, and long before [`PATIENCE`] is.
const SHORT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds a store of your own to what
/// [`IdempotencyStore`](crate::idempotency::IdempotencyStore) asks for.
///
/// It takes about a second, uses keys that no other run uses, and leaves them behind, some
/// for an hour. Run it on several threads, so that a claim in several steps is found out, and
/// in real time where the store has a clock of its own:
///
/// ```
/// use soundhash_webhook::{idempotency::MemoryStore, testing::store_conformance};
///
/// # #[tokio::main(flavor = "multi_thread")]
/// # async fn main() {
/// // In a `#[tokio::test(flavor = "multi_thread")]`:
/// store_conformance(MemoryStore::new(10_000)).await;
/// # }
/// ```
///
/// # Panics
///
/// If the store does not conform, with what it did wrong; or if it fails.
pub async fn store_conformance<S: IdempotencyStore>(store: S) {
    let suite = Suite {
        store: Arc::new(store),
        run: Token::unique(),
    };
    suite.a_key_is_claimed_once().await;
    suite.a_completed_key_stays_completed().await;
    suite.a_released_key_is_free().await;
    suite.only_the_holder_ends_a_claim().await;
    suite.keys_are_kept_apart().await;
    suite.of_many_at_once_one_acquires().await;
    suite.of_many_at_once_one_ends_a_claim().await;
    suite.a_lease_runs_out().await;
    suite.retention_runs_out().await;
    suite.an_expired_token_changes_nothing().await;
    suite.an_overtaken_token_changes_nothing().await;
    suite.any_time_will_do().await;
}

struct Suite<S> {
    store: Arc<S>,
    run: Token,
}

impl<S: IdempotencyStore> Suite<S> {
    fn key(&self, name: &str) -> Key {
        Key::new(&format!("{}/{name}", self.run))
    }

    async fn claim(&self, key: &Key, lease: Duration) -> Claim {
        let claim = self.store.claim(key, lease).await;
        claim.unwrap_or_else(|error| panic!("claim failed: {error}"))
    }

    #[track_caller]
    fn acquired(claim: Claim, what: &str) -> Token {
        match claim {
            Claim::Acquired(token) => token,
            other => panic!("{what} cannot be claimed: {other:?}"),
        }
    }

    async fn complete(&self, key: &Key, token: Token, retention: Duration) -> bool {
        let told = self.store.complete(key, token, retention).await;
        told.unwrap_or_else(|error| panic!("complete failed: {error}"))
    }

    async fn release(&self, key: &Key, token: Token) -> bool {
        let told = self.store.release(key, token).await;
        told.unwrap_or_else(|error| panic!("release failed: {error}"))
    }

    /// Claims until it succeeds.
    async fn claim_at_last(&self, key: &Key, lease: Duration, what: &str) -> Token {
        let start = Instant::now();
        loop {
            match self.claim(key, lease).await {
                Claim::Acquired(token) => return token,
                _ if start.elapsed() < PATIENCE => sleep(SHORT / 5).await,
                _ => panic!("{what} does not run out"),
            }
        }
    }
}
