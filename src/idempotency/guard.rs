//! Holds an event's claim while its handler runs, and records the handler's result.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use axum_core::BoxError;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    key::Key,
    settings::Settings,
    store::{ClaimToken, IdempotencyStore},
};
use crate::{
    panics::panic_as_error,
    telemetry::{self, StoreStep},
};

/// The pause before the first retry after a store failure. The pause doubles after each further
/// failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The claim on an event. Dropping it releases the event.
pub(super) struct ClaimGuard<St: IdempotencyStore>(Option<PendingOutcome<St>>);

/// An outcome that the store has not recorded yet.
struct PendingOutcome<St> {
    store: Arc<St>,
    key: Key,
    token: ClaimToken,
    completed: bool,
    retention: Duration,
    lease: Duration,
    claimed_at: Instant,
    attempts: u32,
}

impl<St: IdempotencyStore> ClaimGuard<St> {
    pub(super) fn new(store: Arc<St>, key: Key, token: ClaimToken, settings: &Settings) -> Self {
        Self(Some(PendingOutcome {
            store,
            key,
            token,
            completed: false,
            retention: settings.stored_retention(),
            lease: settings.lease,
            claimed_at: Instant::now(),
            attempts: 0,
        }))
    }

    /// Marks the event as completed, even if this future is dropped before the store has recorded
    /// it.
    pub(super) async fn complete(mut self) {
        if let Some(pending) = &mut self.0 {
            pending.completed = true;
        }
        self.end().await;
    }

    pub(super) async fn release(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        let Some(pending) = &mut self.0 else { return };
        let result = pending.record().await;
        // If this future is dropped first, `drop` records the outcome.
        if let Some(pending) = self.0.take() {
            pending.handle_result(result);
        }
    }
}

impl<St: IdempotencyStore> PendingOutcome<St> {
    async fn record(&mut self) -> Result<bool, BoxError> {
        self.attempts += 1;
        if self.completed {
            let store = &self.store;
            let complete = async { store.complete(&self.key, self.token, self.retention).await };
            let complete = panic_as_error("the store", complete);
            telemetry::store_step(StoreStep::Complete, complete).await
        } else {
            let release = async { self.store.release(&self.key, self.token).await };
            let release = panic_as_error("the store", release);
            telemetry::store_step(StoreStep::Release, release).await
        }
    }

    async fn end(mut self) {
        let result = self.record().await;
        self.handle_result(result);
    }

    fn handle_result(self, result: Result<bool, BoxError>) {
        match result {
            Ok(true) => {}
            Ok(false) if self.attempts == 1 => {
                telemetry::lease_lost(self.key.as_str(), self.lease);
            }
            // An earlier attempt may have succeeded even though the store's reply was lost.
            Ok(false) => {}
            // The retries run in a task, so that the sender does not wait for a store that is down.
            Err(error) => {
                telemetry::not_recorded(self.key.as_str(), self.completed, error.as_ref());
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(telemetry::in_current_span(self.retry_until_lease_ends()));
                }
            }
        }
    }

    async fn retry_until_lease_ends(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.lease.saturating_sub(self.claimed_at.elapsed());
            if left < SHORTEST_PAUSE {
                return;
            }
            // The pauses shrink near the end of the lease, so that the outcome is still recorded if
            // the store recovers shortly before the lease ends.
            sleep(pause.min(left / 2)).await;
            if self.record().await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<St: IdempotencyStore> Drop for ClaimGuard<St> {
    fn drop(&mut self) {
        // Without a runtime, no task can wait for the store, so the claim lasts until the lease
        // ends.
        let (Some(pending), Ok(runtime)) = (self.0.take(), Handle::try_current()) else {
            return;
        };
        // The future owns the pending outcome, not the guard itself. Otherwise, a runtime that
        // drops the future during shutdown would drop a guard, which would spawn another future,
        // and so on.
        let mut end = Box::pin(pending.end());
        // Polling the future once lets a store that never has to wait record the outcome before
        // `drop` returns, so that an immediate retry does not find the event still in progress. A
        // panic of the store does not escape, which would abort the process during another panic.
        let end_now = end.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if end_now.is_pending() {
            runtime.spawn(telemetry::in_current_span(end));
        }
    }
}
