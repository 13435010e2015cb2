use std::collections::HashSet;

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

    pub(super) async fn of_many_at_once_one_ends_a_claim(&self) {
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
                    let ended = ended.unwrap_or_else(|error| panic!("the end failed: {error}"));
                    ended.then_some(complete)
                });
            }
            let ended: Vec<bool> = ends.join_all().await.into_iter().flatten().collect();
            assert_eq!(
                ended.len(),
                1,
                "of 64 ends of a claim at once, {} were told that they ended it",
                ended.len()
            );
            let is_completed = self.claim(&key, LONG).await == Claim::Completed;
            assert_eq!(is_completed, ended[0], "completed, after ends at once");
        }
    }
}
