use std::{collections::HashSet, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{LONG, SHORT, Suite};
use crate::idempotency::{Claim, IdempotencyStore, Token};

impl<S: IdempotencyStore> Suite<S> {
    pub(super) async fn a_key_is_claimed_once(&self) {
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

    pub(super) async fn a_completed_key_stays_completed(&self) {
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
            "a completed key, after its token was used again"
        );
    }

    pub(super) async fn a_released_key_is_free(&self) {
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

    pub(super) async fn only_the_holder_ends_a_claim(&self) {
        let key = self.key("held");
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        let other_key = self.key("held by another");
        let other = Self::acquired(self.claim(&other_key, LONG).await, "a new key");
        for stranger in [
            other,
            Token::unique(),
            Token::from(0),
            Token::from(u128::MAX),
        ] {
            assert!(
                !self.release(&key, stranger).await,
                "released by a stranger's token"
            );
            assert!(
                !self.complete(&key, stranger, LONG).await,
                "completed by a stranger's token"
            );
            assert_eq!(
                self.claim(&key, LONG).await,
                Claim::InProgress,
                "a claim, after a stranger's token was used"
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

    pub(super) async fn keys_are_kept_apart(&self) {
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

    pub(super) async fn of_many_at_once_one_acquires(&self) {
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
                        assert_eq!(claim, Claim::InProgress, "one of 64 claims at once");
                    }
                    other => panic!("claim failed: {other:?}"),
                }
            }
            let acquired = tokens.len();
            assert_eq!(
                acquired, 1,
                "of 64 claims at once, {acquired} acquired the key"
            );
            assert!(
                self.complete(&key, tokens[0], LONG).await,
                "the holder cannot complete"
            );
        }
    }

    pub(super) async fn a_lease_runs_out(&self) {
        let key = self.key("lease");
        Self::acquired(self.claim(&key, SHORT).await, "a new key");
        let token = self.claim_at_last(&key, LONG, "a lease").await;
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

    pub(super) async fn retention_runs_out(&self) {
        let key = self.key("retention");
        let token = Self::acquired(self.claim(&key, LONG).await, "a new key");
        assert!(
            self.complete(&key, token, SHORT).await,
            "the holder cannot complete"
        );
        self.claim_at_last(&key, LONG, "a retention").await;
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim after a retention"
        );

        // Longer than the lease was: the lease's end is not the key's.
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

    pub(super) async fn an_expired_token_changes_nothing(&self) {
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

    pub(super) async fn an_overtaken_token_changes_nothing(&self) {
        let key = self.key("overtaken");
        let late = Self::acquired(self.claim(&key, SHORT).await, "a new key");
        let token = self.claim_at_last(&key, LONG, "a lease").await;
        assert!(
            !self.release(&key, late).await,
            "released by an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim, after an expired token was released"
        );
        assert!(
            !self.complete(&key, late, LONG).await,
            "completed by an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::InProgress,
            "a claim, after an expired token was completed"
        );
        assert!(
            self.complete(&key, token, LONG).await,
            "the next holder cannot complete"
        );
        assert!(
            !self.release(&key, late).await,
            "released by an expired token"
        );
        assert_eq!(
            self.claim(&key, LONG).await,
            Claim::Completed,
            "claim of a completed key"
        );
    }

    pub(super) async fn any_time_will_do(&self) {
        let key = self.key("no time");
        Self::acquired(self.claim(&key, Duration::from_nanos(1)).await, "a new key");
        let token = self
            .claim_at_last(&key, Duration::MAX, "a lease of 1 ns")
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
