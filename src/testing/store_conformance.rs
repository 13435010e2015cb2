//! Tests that any idempotency store has to pass.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use axum_core::BoxError;

use crate::idempotency::{Claim, ClaimToken, ForgetUnsupported, IdempotencyStore, Key};

/// A time that does not end while the tests run.
const LONG: Duration = Duration::from_secs(3600);
/// A time that ends long before [`PATIENCE`].
const SHORT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

/// Tests that a store of your own follows the rules of [`IdempotencyStore`].
///
/// The tests take about two seconds. Each run uses new keys and leaves them in the store, some of
/// them for an hour. Use a runtime with several threads, so that a claim that is not atomic is
/// detected. Do not pause Tokio's clock unless the store uses it.
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
/// Panics if the store does not follow the rules or returns an error. The message describes the
/// fault.
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
    suite.a_duplicate_renews_the_retention().await;
    suite.a_forgotten_key_is_free().await;
    suite.an_expired_token_changes_nothing().await;
    suite.an_overtaken_token_changes_nothing().await;
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

    #[track_caller]
    fn acquired(claim: Claim, what: &str) -> ClaimToken {
        match claim {
            Claim::Acquired(token) => token,
            other => panic!("{what} cannot be claimed: {other:?}"),
        }
    }

    async fn complete(&self, key: &Key, token: ClaimToken, retention: Duration) -> bool {
        let completed = self.store.complete(key, token, retention).await;
        completed.unwrap_or_else(|error| panic!("complete failed: {error}"))
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> bool {
        let released = self.store.release(key, token).await;
        released.unwrap_or_else(|error| panic!("release failed: {error}"))
    }

    /// Claims until the store returns [`Claim::Acquired`].
    async fn claim_after_lease(&self, key: &Key, lease: Duration, what: &str) -> ClaimToken {
        let start = Instant::now();
        loop {
            match self.claim(key, lease).await {
                Claim::Acquired(token) => return token,
                _ if start.elapsed() < PATIENCE => sleep(SHORT / 5).await,
                _ => panic!("{what} does not end"),
            }
        }
    }

    /// Like [`claim_after_lease`](Self::claim_after_lease), with pauses that grow, because each
    /// claim renews the retention.
    async fn claim_after_retention(&self, key: &Key, lease: Duration) -> ClaimToken {
        let mut pause = SHORT;
        while pause < PATIENCE {
            sleep(pause).await;
            if let Claim::Acquired(token) = self.claim(key, lease).await {
                return token;
            }
            pause *= 2;
        }
        panic!("a retention does not end");
    }

    async fn a_key_is_claimed_once(&self) {
        let key = self.key("claimed once");
        Self::acquired(self.claim(&key, LONG).await, "a new key");
        for _ in 0..2 {
            assert_eq!(
                self.claim(&key, LONG).await,
                Claim::InProgress,
                "second claim of a key"
            );
        }
    }

    async fn a_completed_key_stays_completed(&self) {
        let key = self.key("completed");
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        assert!(
            self.complete(&key, token, LONG).await,
            "the holder cannot complete"
        );
        for _ in 0..2 {
            assert_eq!(
                self.claim(&key, SHORT).await,
                Claim::Completed,
                "claim of a completed key"
            );
        }
        assert!(!self.complete(&key, token, SHORT).await, "completed twice");
        assert!(
            !self.release(&key, token).await,
            "released after it was completed"
        );
        sleep(SHORT * 2).await;
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::Completed,
            "a completed key whose token was used again"
        );
    }

    async fn a_released_key_is_free(&self) {
        let key = self.key("released");
        let first = Self::acquired(self.claim(&key, LONG).await, "a new key");
        assert!(self.release(&key, first).await, "the holder cannot release");
        assert!(!self.release(&key, first).await, "released twice");
        let second = Self::acquired(self.claim(&key, LONG).await, "a released key");
        assert_ne!(first, second, "two claims with the same token");
        assert!(
            self.complete(&key, second, LONG).await,
            "the second holder cannot complete"
        );
    }

    async fn only_the_holder_ends_a_claim(&self) {
        let key = self.key("held");
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        let other_key = self.key("held by another");
        let other = Self::acquired(self.claim(&other_key, LONG).await, "a new key");
        for other in [
            other,
            ClaimToken::unique(),
            ClaimToken::from(0),
            ClaimToken::from(u128::MAX),
        ] {
            assert!(
                !self.release(&key, other).await,
                "released with a token that does not hold the key"
            );
            assert!(
                !self.complete(&key, other, LONG).await,
                "completed with a token that does not hold the key"
            );
            assert_eq!(
                self.claim(&key, LONG).await,
                Claim::InProgress,
                "a claim that another token must not end"
            );
        }
        assert!(
            self.complete(&key, token, LONG).await,
            "the holder cannot complete"
        );
        let unknown = self.key("never claimed");
        assert!(
            !self.complete(&unknown, token, LONG).await,
            "completed without a claim"
        );
        Self::acquired(
            self.claim(&unknown, LONG).await,
            "a key that was not claimed",
        );
    }

    async fn keys_are_kept_apart(&self) {
        let long = "x".repeat(203);
        let names = [
            "",
            "a",
            "A",
            "a ",
            " a",
            "a*",
            "a?",
            "a\0",
            "a\n",
            "a%",
            "a\\",
            "a'",
            "a\"",
            "a:b",
            "é",
            "e\u{301}",
            "\u{1f512}",
            "*",
            "completed",
            &long,
            &long[1..],
        ];
        let mut tokens = HashSet::new();
        for name in names {
            let claim = self.claim(&self.key(&format!("apart/{name}")), LONG).await;
            let token = Self::acquired(claim, &format!("the new key {name:?}"));
            assert!(tokens.insert(token), "two claims with the same token");
        }
    }

    async fn one_of_many_concurrent_claims_acquires(&self) {
        for round in 0..10 {
            let key = self.key(&format!("contended {round}"));
            let mut claims = JoinSet::new();
            for _ in 0..64 {
                let (store, key) = (self.store.clone(), key.clone());
                claims.spawn(async move { store.claim(&key, LONG).await });
            }
            let mut tokens = Vec::new();
            while let Some(claim) = claims.join_next().await {
                match claim {
                    Ok(Ok(Claim::Acquired(token))) => tokens.push(token),
                    Ok(Ok(claim)) => {
                        assert_eq!(
                            claim,
                            Claim::InProgress,
                            "a concurrent claim that did not acquire the key"
                        );
                    }
                    other => panic!("claim failed: {other:?}"),
                }
            }
            let acquired = tokens.len();
            assert_eq!(
                acquired, 1,
                "{acquired} of 64 concurrent claims acquired the key"
            );
            assert!(
                self.complete(&key, tokens[0], LONG).await,
                "the holder cannot complete"
            );
        }
    }

    async fn one_of_many_concurrent_calls_ends_a_claim(&self) {
        for round in 0..8 {
            let key = self.key(&format!("ended at once {round}"));
            let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
            let mut ends = JoinSet::new();
            for complete in (0..32).flat_map(|_| [true, false]) {
                let (store, key) = (self.store.clone(), key.clone());
                ends.spawn(async move {
                    let ended = match complete {
                        true => store.complete(&key, token, LONG).await,
                        false => store.release(&key, token).await,
                    };
                    let ended =
                        ended.unwrap_or_else(|error| panic!("complete or release failed: {error}"));
                    ended.then_some(complete)
                });
            }
            let ended: Vec<bool> = ends.join_all().await.into_iter().flatten().collect();
            assert_eq!(
                ended.len(),
                1,
                "{} of 64 concurrent calls ended a claim",
                ended.len()
            );
            let is_completed = self.claim(&key, LONG).await == Claim::Completed;
            assert_eq!(is_completed, ended[0], "whether the key is completed");
        }
    }

    // ---- expiry

    async fn a_lease_ends(&self) {
        let key = self.key("lease");
        Self::acquired(self.claim(&key, SHORT).await, "a new key");
        let token = self.claim_after_lease(&key, LONG, "a lease").await;
        assert_eq!(
            self.claim(&key, SHORT).await,
            Claim::InProgress,
            "a claim after a lease"
        );
        assert!(
            self.complete(&key, token, LONG).await,
            "the next holder cannot complete"
        );
    }

    async fn a_retention_ends(&self) {
        let key = self.key("retention");
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        assert!(
            self.complete(&key, token, SHORT).await,
            "the holder cannot complete"
        );
        self.claim_after_retention(&key, LONG).await;
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim after a retention"
        );

        // The key outlives the lease.
        let key = self.key("retention longer than lease");
        let token = Self::acquired(self.claim(&key, SHORT * 10).await, "a new key");
        if self.complete(&key, token, LONG).await {
            sleep(SHORT * 12).await;
            assert_eq!(
                self.claim(&key, LONG).await,
                Claim::Completed,
                "a key after its lease"
            );
        }
    }

    async fn a_duplicate_renews_the_retention(&self) {
        let mut retention = SHORT * 4;
        while retention < PATIENCE {
            let key = self.key(&format!("renewed {}", retention.as_millis()));
            let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
            let completing = Instant::now();
            assert!(
                self.complete(&key, token, retention).await,
                "the holder cannot complete"
            );
            sleep(retention * 3 / 5).await;
            let renewing = Instant::now();
            let first = self.claim(&key, LONG).await;
            let first_in_time = completing.elapsed() < retention;
            // The first retention is over after this, and the renewed one is not.
            sleep(retention * 3 / 5).await;
            let second = self.claim(&key, LONG).await;
            let second_in_time = renewing.elapsed() < retention;
            if first_in_time && second_in_time {
                assert_eq!(first, Claim::Completed, "claim of a completed key");
                assert_eq!(
                    second,
                    Claim::Completed,
                    "claim of a key whose retention a duplicate should have renewed"
                );
                return;
            }
            // The machine was too busy for a result.
            retention *= 2;
        }
        panic!("claims take too long to test whether a duplicate renews the retention");
    }

    async fn a_forgotten_key_is_free(&self) {
        let key = self.key("forgotten");
        match self.store.forget(&key).await {
            Err(error) if error.is::<ForgetUnsupported>() => return,
            forgotten => assert!(!Self::forgotten(forgotten), "forgot a new key"),
        }
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        assert!(
            !Self::forgotten(self.store.forget(&key).await),
            "forgot a key that is in progress"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim that `forget` must not end"
        );
        assert!(
            self.complete(&key, token, LONG).await,
            "the holder cannot complete"
        );
        assert!(
            Self::forgotten(self.store.forget(&key).await),
            "a completed key cannot be forgotten"
        );
        assert!(
            !Self::forgotten(self.store.forget(&key).await),
            "forgot a key twice"
        );
        assert!(
            !self.complete(&key, token, LONG).await,
            "completed after it was forgotten"
        );
        Self::acquired(self.claim(&key, LONG).await, "a forgotten key");
    }

    #[track_caller]
    fn forgotten(result: Result<bool, BoxError>) -> bool {
        result.unwrap_or_else(|error| panic!("forget failed: {error}"))
    }

    async fn an_expired_token_changes_nothing(&self) {
        let key = self.key("expired");
        let token = Self::acquired(self.claim(&key, SHORT).await, "a new key");
        sleep(SHORT * 2).await;
        assert!(
            !self.complete(&key, token, LONG).await,
            "completed after the lease"
        );
        assert!(!self.release(&key, token).await, "released after the lease");
        Self::acquired(self.claim(&key, LONG).await, "a key whose lease ran out");
    }

    async fn an_overtaken_token_changes_nothing(&self) {
        let key = self.key("overtaken");
        let late = Self::acquired(self.claim(&key, SHORT).await, "a new key");
        let token = self.claim_after_lease(&key, LONG, "a lease").await;
        assert!(
            !self.release(&key, late).await,
            "released with an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim that an expired token must not release"
        );
        assert!(
            !self.complete(&key, late, LONG).await,
            "completed with an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim that an expired token must not complete"
        );
        assert!(
            self.complete(&key, token, LONG).await,
            "the next holder cannot complete"
        );
        assert!(
            !self.release(&key, late).await,
            "released with an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::Completed,
            "claim of a completed key"
        );
    }

    async fn any_duration_is_accepted(&self) {
        let key = self.key("any duration");
        Self::acquired(self.claim(&key, Duration::from_nanos(1)).await, "a new key");
        let token = self
            .claim_after_lease(&key, Duration::MAX, "a lease of 1 ns")
            .await;
        assert_eq!(
            self.claim(&key, Duration::MAX).await,
            Claim::InProgress,
            "an endless lease"
        );
        assert!(
            self.complete(&key, token, Duration::MAX).await,
            "the holder cannot complete"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::Completed,
            "an endless retention"
        );
    }
}
