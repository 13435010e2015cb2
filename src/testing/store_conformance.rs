//! Tests that every idempotency store must pass.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::idempotency::{
    Claim::{self, Acquired, Completed, InProgress},
    ClaimToken, IdempotencyStore, Key,
};

/// A duration that outlasts the tests.
const LONG: Duration = Duration::from_secs(3600);
/// A duration that is much shorter than [`PATIENCE`].
const SHORT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// Tests whether your own store follows the rules of [`IdempotencyStore`].
///
/// The tests take about four seconds. Each run uses new keys and leaves them in the store, most of
/// them for an hour, and one for as long as the store can. Use a multi-threaded runtime, so that the tests can detect operations that are
/// not atomic. Do not pause Tokio's clock unless the store uses it.
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
/// Panics with a description of the fault if the store does not follow the rules or returns an
/// error.
pub async fn store_conformance<S: IdempotencyStore>(store: S) {
    let suite = Suite {
        store: Arc::new(store),
        run: ClaimToken::unique(),
    };
    suite.a_key_is_claimed_once().await;
    suite.a_completed_key_stays_completed().await;
    suite.a_released_key_is_free().await;
    suite.only_the_holder_ends_a_claim().await;
    suite.keys_are_kept_apart().await;
    suite.one_of_many_concurrent_claims_acquires().await;
    suite.one_of_many_concurrent_calls_ends_a_claim().await;
    suite.a_lease_ends().await;
    suite.a_retention_ends().await;
    suite
        .one_of_many_concurrent_claims_acquires_an_expired_key()
        .await;
    suite.a_duplicate_renews_the_retention().await;
    suite.an_expired_token_changes_nothing().await;
    suite.any_duration_is_accepted().await;
}

struct Suite<S> {
    store: Arc<S>,
    run: ClaimToken,
}

impl<S: IdempotencyStore> Suite<S> {
    fn key(&self, name: &str) -> Key {
        Key::new(&format!("{}/{name}", self.run))
    }

    async fn claim(&self, key: &Key, lease: Duration) -> Claim {
        let claim = self.store.claim(key, lease).await;
        claim.unwrap_or_else(|error| panic!("claim failed: {error}"))
    }

    /// Claims a key that must be free.
    async fn acquire(&self, key: &Key, lease: Duration, what: &str) -> ClaimToken {
        match self.claim(key, lease).await {
            Acquired(token) => token,
            other => panic!("{what} cannot be claimed: {other:?}"),
        }
    }

    /// Claims a key that must not be free.
    async fn expect(&self, key: &Key, expected: Claim, what: &str) {
        // The lease is short to detect a store that wrongly applies it to the key.
        let claim = self.claim(key, SHORT).await;
        assert_eq!(claim, expected, "claim of {what}");
    }

    async fn complete(&self, key: &Key, token: ClaimToken, retention: Duration) -> bool {
        let completed = self.store.complete(key, token, retention).await;
        completed.unwrap_or_else(|error| panic!("complete failed: {error}"))
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> bool {
        let released = self.store.release(key, token).await;
        released.unwrap_or_else(|error| panic!("release failed: {error}"))
    }

    /// Completes `key`, which `token` must hold.
    async fn finish(&self, key: &Key, token: ClaimToken, retention: Duration) {
        let completed = self.complete(key, token, retention).await;
        assert!(completed, "the holder cannot complete");
    }

    /// Checks that `token`, which does not hold the key, neither completes nor releases it.
    async fn reject(&self, key: &Key, token: ClaimToken, whose: &str) {
        assert!(!self.complete(key, token, SHORT).await, "{whose} completed");
        assert!(!self.release(key, token).await, "{whose} released");
    }

    /// Tries to claim the key, again and again, until the lease of an earlier claim has ended.
    async fn acquire_after_lease(&self, key: &Key, lease: Duration) -> ClaimToken {
        let start = Instant::now();
        loop {
            match self.claim(key, lease).await {
                Acquired(token) => return token,
                _ if start.elapsed() < PATIENCE => sleep(SHORT / 5).await,
                _ => panic!("a lease does not end"),
            }
        }
    }

    async fn a_key_is_claimed_once(&self) {
        let key = self.key("claimed once");
        self.acquire(&key, LONG, "a new key").await;
        for _ in 0..2 {
            self.expect(&key, InProgress, "a claimed key").await;
        }
    }

    async fn a_completed_key_stays_completed(&self) {
        let key = self.key("completed");
        let token = self.acquire(&key, LONG, "a new key").await;
        self.finish(&key, token, LONG).await;
        for _ in 0..2 {
            self.expect(&key, Completed, "a completed key").await;
        }
        self.reject(&key, token, "a completed key's token").await;
        sleep(SHORT * 2).await;
        self.expect(&key, Completed, "a key completed twice").await;
    }

    async fn a_released_key_is_free(&self) {
        let key = self.key("released");
        let first = self.acquire(&key, LONG, "a new key").await;
        assert!(self.release(&key, first).await, "the holder cannot release");
        self.reject(&key, first, "a released key's token").await;
        let second = self.acquire(&key, LONG, "a released key").await;
        assert_ne!(first, second, "two claims with the same token");
        self.finish(&key, second, LONG).await;
    }

    async fn only_the_holder_ends_a_claim(&self) {
        let key = self.key("held");
        let token = self.acquire(&key, LONG, "a new key").await;
        let other = self.key("held by another");
        let other = self.acquire(&other, LONG, "a new key").await;
        let tokens = [0, u128::MAX].map(ClaimToken::from);
        for other in [other, ClaimToken::unique(), tokens[0], tokens[1]] {
            self.reject(&key, other, "a foreign token").await;
            self.expect(&key, InProgress, "a key still held").await;
        }
        self.finish(&key, token, LONG).await;
        let unknown = self.key("never claimed");
        self.reject(&unknown, token, "another key's token").await;
        self.acquire(&unknown, LONG, "an unclaimed key").await;
    }

    async fn keys_are_kept_apart(&self) {
        // With the run and `apart/`, a key has up to 272 bytes.
        let long = "x".repeat(233);
        let names = "|a|A|a | a|a*|a?|a\0|a\n|a%|a\\|a'|a\"|a:b|é|e\u{301}|🔒|*|completed";
        let mut tokens = HashSet::new();
        for name in names.split('|').chain([&*long, &long[1..]]) {
            let key = self.key(&format!("apart/{name}"));
            let what = format!("the new key {name:?}");
            let token = self.acquire(&key, LONG, &what).await;
            assert!(tokens.insert(token), "two claims with the same token");
        }
    }

    /// Claims a key that must be free many times at once.
    async fn contend(&self, key: &Key) {
        let mut claims = JoinSet::new();
        for _ in 0..64 {
            let (store, key) = (self.store.clone(), key.clone());
            claims.spawn(async move { store.claim(&key, LONG).await });
        }
        let mut tokens = Vec::new();
        while let Some(claim) = claims.join_next().await {
            match claim {
                Ok(Ok(Acquired(token))) => tokens.push(token),
                Ok(Ok(InProgress)) => {}
                other => panic!("a concurrent claim failed: {other:?}"),
            }
        }
        let acquired = tokens.len();
        assert_eq!(
            acquired, 1,
            "{acquired} of 64 concurrent claims acquired the key"
        );
        self.finish(key, tokens[0], LONG).await;
    }

    async fn one_of_many_concurrent_claims_acquires(&self) {
        for round in 0..10 {
            self.contend(&self.key(&format!("contended {round}"))).await;
        }
    }

    async fn one_of_many_concurrent_claims_acquires_an_expired_key(&self) {
        let keys: Vec<_> = (0..6)
            .map(|number| self.key(&format!("expired {number}")))
            .collect();
        for (number, key) in keys.iter().enumerate() {
            if number % 2 == 0 {
                let token = self.acquire(key, LONG, "a new key").await;
                self.finish(key, token, SHORT).await;
            } else {
                self.acquire(key, SHORT, "a new key").await;
            }
        }
        // The store may keep its times in whole seconds.
        sleep(SHORT + Duration::from_secs(2)).await;
        for key in &keys {
            self.contend(key).await;
        }
    }

    async fn one_of_many_concurrent_calls_ends_a_claim(&self) {
        for round in 0..8 {
            let key = self.key(&format!("ended at once {round}"));
            let token = self.acquire(&key, LONG, "a new key").await;
            let mut ends = JoinSet::new();
            for complete in (0..32).flat_map(|_| [true, false]) {
                let (store, key) = (self.store.clone(), key.clone());
                ends.spawn(async move {
                    let ended = match complete {
                        true => store.complete(&key, token, LONG).await,
                        false => store.release(&key, token).await,
                    };
                    let ended = ended.unwrap_or_else(|error| panic!("a call failed: {error}"));
                    ended.then_some(complete)
                });
            }
            let ended: Vec<bool> = ends.join_all().await.into_iter().flatten().collect();
            let count = ended.len();
            assert_eq!(count, 1, "{count} of 64 concurrent calls ended a claim");
            let is_completed = self.claim(&key, LONG).await == Completed;
            assert_eq!(is_completed, ended[0], "whether the key is completed");
        }
    }

    async fn a_lease_ends(&self) {
        let key = self.key("lease");
        self.acquire(&key, SHORT, "a new key").await;
        let token = self.acquire_after_lease(&key, LONG).await;
        self.expect(&key, InProgress, "a key after a lease").await;
        self.finish(&key, token, LONG).await;
    }

    async fn a_retention_ends(&self) {
        let key = self.key("retention");
        let token = self.acquire(&key, LONG, "a new key").await;
        self.finish(&key, token, SHORT).await;
        // The pauses between claims must grow, because each claim renews the key's retention.
        let mut pause = SHORT;
        loop {
            sleep(pause).await;
            match self.claim(&key, LONG).await {
                Acquired(_) => break,
                _ => pause *= 2,
            }
            assert!(pause < PATIENCE, "a retention does not end");
        }
        self.expect(&key, InProgress, "a key after a retention")
            .await;

        // The key must stay completed after the claim's lease has ended.
        let key = self.key("retention longer than lease");
        let token = self.acquire(&key, SHORT * 10, "a new key").await;
        if self.complete(&key, token, LONG).await {
            sleep(SHORT * 12).await;
            self.expect(&key, Completed, "a key after its lease").await;
        }
    }

    async fn a_duplicate_renews_the_retention(&self) {
        let mut retention = SHORT * 4;
        while retention < PATIENCE {
            let key = self.key(&format!("renewed {}", retention.as_millis()));
            let token = self.acquire(&key, LONG, "a new key").await;
            let completing = Instant::now();
            self.finish(&key, token, retention).await;
            sleep(retention * 3 / 5).await;
            let renewing = Instant::now();
            let first = self.claim(&key, LONG).await;
            let first_in_time = completing.elapsed() < retention;
            // After this pause, the original retention is over, but the renewed one is not.
            sleep(retention * 3 / 5).await;
            let second = self.claim(&key, LONG).await;
            if first_in_time && renewing.elapsed() < retention {
                assert_eq!(first, Completed, "claim of a completed key");
                assert_eq!(
                    second, Completed,
                    "claim of a key whose retention a duplicate should have renewed"
                );
                return;
            }
            // The machine was too slow for a meaningful result, so try again with more time.
            retention *= 2;
        }
        panic!("claims take too long to test whether a duplicate renews the retention");
    }

    async fn an_expired_token_changes_nothing(&self) {
        let key = self.key("expired");
        let late = self.acquire(&key, SHORT, "a new key").await;
        sleep(SHORT * 2).await;
        self.reject(&key, late, "an expired token").await;
        let token = self.acquire(&key, LONG, "a key after its lease").await;
        self.reject(&key, late, "an earlier claim's token").await;
        self.expect(&key, InProgress, "a key still held").await;
        self.finish(&key, token, LONG).await;
        self.reject(&key, late, "an earlier claim's token").await;
        self.expect(&key, Completed, "a completed key").await;
    }

    async fn any_duration_is_accepted(&self) {
        let key = self.key("any duration");
        let lease = Duration::from_nanos(1);
        self.acquire(&key, lease, "a new key").await;
        let token = self.acquire_after_lease(&key, Duration::MAX).await;
        self.expect(&key, InProgress, "an endless lease").await;
        self.finish(&key, token, Duration::MAX).await;
        self.expect(&key, Completed, "an endless retention").await;
    }
}
