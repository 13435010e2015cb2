use std::time::Duration;

use tokio::time::sleep;

use super::{LONG, SHORT, Suite};
use crate::idempotency::{Claim, IdempotencyStore};

impl<S: IdempotencyStore> Suite<S> {
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
