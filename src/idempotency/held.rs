use std::{
    future::Future,
    sync::Arc,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use axum_core::BoxError;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{key::Key, layer::Settings, store::IdempotencyStore, token::Token};
use crate::telemetry::{self, StoreStep};

/// The pause before a store that failed is told again; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A claimed event. Dropped without an end, it is released.
pub(super) struct Held<St: IdempotencyStore>(Option<Ending<St>>);

/// What the store is still to be told.
struct Ending<St> {
    store: Arc<St>,
    key: Key,
    token: Token,
    completed: bool,
    retention: Duration,
    /// Nothing can be told after this.
    lease: Duration,
    since: Instant,
}

impl<St: IdempotencyStore> Held<St> {
    pub(super) fn new(store: Arc<St>, key: Key, token: Token, settings: &Settings) -> Self {
        Self(Some(Ending {
            store,
            key,
            token,
            completed: false,
            retention: settings.remembered(),
            lease: settings.lease,
            since: Instant::now(),
        }))
    }

    /// The event was acted on. Also if this is dropped half-way, it will not be released.
    pub(super) async fn complete(mut self) {
        if let Some(ending) = &mut self.0 {
            ending.completed = true;
        }
        self.end().await;
    }

    pub(super) async fn release(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        let Some(ending) = &self.0 else { return };
        let told = ending.tell().await;
        // Not earlier: until here, `drop` is to take care of it.
        if let Some(ending) = self.0.take() {
            ending.heard(told);
        }
    }
}

impl<St: IdempotencyStore> Ending<St> {
    async fn tell(&self) -> Result<bool, BoxError> {
        if self.completed {
            let complete = self.store.complete(&self.key, self.token, self.retention);
            telemetry::store_step(StoreStep::Complete, complete).await
        } else {
            let release = self.store.release(&self.key, self.token);
            telemetry::store_step(StoreStep::Release, release).await
        }
    }

    async fn end(self) {
        let told = self.tell().await;
        self.heard(told);
    }

    fn heard(self, told: Result<bool, BoxError>) {
        match told {
            Ok(true) => {}
            Ok(false) => telemetry::lease_lost(self.key.as_str(), self.lease),
            // The handler's answer does not wait for a store that is down.
            Err(error) => {
                telemetry::not_recorded(self.key.as_str(), self.completed, &error);
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(telemetry::in_current_span(self.insist()));
                }
            }
        }
    }

    /// Tells again, until it is heard or the lease is over.
    async fn insist(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.lease.saturating_sub(self.since.elapsed());
            if left < SHORTEST_PAUSE {
                return;
            }
            // More often towards the end, so that it is tried as long as it may help.
            sleep(pause.min(left / 2)).await;
            // `false` is no news here: an earlier call may have been heard and not answered.
            if self.tell().await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<St: IdempotencyStore> Drop for Held<St> {
    fn drop(&mut self) {
        // Without a runtime nobody could wait for the store: the lease runs out.
        let (Some(ending), Ok(runtime)) = (self.0.take(), Handle::try_current()) else {
            return;
        };
        // Not as a `Held`: a runtime that shuts down drops what it is given, and that would
        // lead here again, for ever.
        let mut ended = Box::pin(ending.end());
        // A store that need not be waited for is told before this returns, so that a retry
        // which follows at once is not taken for a duplicate. Not during a panic: a second
        // one, of the store, would abort the process.
        let at_once = !thread::panicking()
            && ended
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready();
        if !at_once {
            runtime.spawn(telemetry::in_current_span(ended));
        }
    }
}
