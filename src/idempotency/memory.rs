//! The store for a single process, which keeps everything in memory.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum_core::BoxError;
use lru::LruCache;
// Tokio's clock, so that tests can pause and advance it.
use tokio::time::Instant;

use super::{
    key::Key,
    store::{Claim, ClaimToken, IdempotencyStore},
};

/// Used instead of a duration that is too long for an `Instant`. 30 years is long enough in
/// practice.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The initial and minimum value of [`State::sweep_at`].
const SWEEP_AT: usize = 64;

/// The largest capacity for which the whole table is allocated up front.
const MOST_AT_ONCE: usize = 1_000_000;

/// An [`IdempotencyStore`] in the memory of a single process.
///
/// Use it if **one process** receives all deliveries for an endpoint. The store forgets everything
/// when the process restarts, so an event that was completed before the restart is handled again if
/// it is sent again. This also means that an attacker can replay a recorded delivery once per
/// restart, until the delivery is older than [`max_age`](super::IdempotencyLayer::max_age). If that
/// matters, or if there are several processes, use a store outside the process, such as
/// `RedisStore` (crate `soundhash-webhook-redis`).
///
/// # Memory
///
/// A completed event with an id of 22 characters takes about 170 bytes, so 100,000 of them take 17
/// MB. The key table, which takes 30 to 60 bytes for each of the `capacity` events, is allocated up
/// front, and the rest is allocated as needed. If `capacity` is more than 1,000,000, the key table
/// also grows as needed, and all deliveries wait while it grows. Once more than `capacity` events
/// have been completed, the store evicts the one whose last delivery is the oldest. The `capacity`
/// should exceed the number of events that arrive within the
/// [`retention`](super::IdempotencyLayer::retention), and must at least exceed the number that
/// arrive during the 9 minutes of SoundHash's retries. Tenants who do not trust each other should
/// not share a store, because a tenant with many events would evict the events of the others.
///
/// Events in progress do not count toward the capacity, because they are limited by the number of
/// concurrent requests. Their claims are never evicted, and a new claim never fails for lack of
/// space.
pub struct MemoryStore {
    state: Mutex<State>,
}

struct State {
    // Separate from `completed`, so that claims cannot be evicted.
    claimed: HashMap<Key, Lease>,
    /// Has room for more than `capacity` events, because a table that is nearly full has to be
    /// rebuilt from time to time, and all claims would have to wait for that.
    completed: LruCache<Key, Completion>,
    capacity: usize,
    /// The last token issued. Each claim increments it. Random tokens would cost a system call per
    /// claim. They are also unnecessary, because a fork or a restored snapshot copies the claims
    /// along with this number.
    last_token: u128,
    /// The number of claims at which the next claim first removes the expired ones.
    sweep_at: usize,
}

struct Lease {
    token: ClaimToken,
    until: Instant,
}

struct Completion {
    retention: Duration,
    until: Instant,
}

impl MemoryStore {
    /// Creates a store that remembers up to `capacity` completed events.
    ///
    /// # Panics
    ///
    /// Panics if `capacity` is zero, or if the operating system cannot provide randomness.
    #[must_use]
    #[track_caller]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "capacity must be greater than zero");
        let completed = match NonZeroUsize::new(capacity.saturating_mul(8) / 5) {
            Some(room) if capacity <= MOST_AT_ONCE => LruCache::new(room),
            _ => LruCache::unbounded(),
        };
        Self {
            state: Mutex::new(State {
                claimed: HashMap::new(),
                completed,
                capacity,
                last_token: ClaimToken::unique().into(),
                sweep_at: SWEEP_AT,
            }),
        }
    }

    /// Forgets that the event was completed, so that its next delivery runs the handler again.
    /// Returns whether the key was completed.
    ///
    /// A claimed key stays claimed, because its handler may still be running.
    pub fn forget(&self, key: &Key) -> bool {
        let completion = self.state().completed.pop(key);
        completion.is_some_and(|completion| Instant::now() < completion.until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics in the middle of a change, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn claim(&mut self, key: &Key, lease: Duration) -> Claim {
        let now = Instant::now();
        match self.completed.get_mut(key) {
            Some(completion) if now < completion.until => {
                completion.until = end(now, completion.retention);
                return Claim::Completed;
            }
            Some(_) => self.completed.pop(key),
            None => None,
        };
        if self.claimed.get(key).is_some_and(|held| now < held.until) {
            return Claim::InProgress;
        }
        if self.claimed.len() >= self.sweep_at {
            self.claimed.retain(|_, held| now < held.until);
            // Doubling the threshold means that each claim scans at most two others on average.
            self.sweep_at = SWEEP_AT.max(self.claimed.len() * 2);
        }
        self.last_token = self.last_token.wrapping_add(1);
        let token = ClaimToken::from(self.last_token);
        let until = end(now, lease);
        self.claimed.insert(key.clone(), Lease { token, until });
        Claim::Acquired(token)
    }

    /// Ends the claim if `token` still holds the key, and returns whether it did.
    fn end_claim(&mut self, key: &Key, token: ClaimToken, now: Instant) -> bool {
        let held = self.claimed.get(key);
        let is_held = held.is_some_and(|held| held.token == token && now < held.until);
        if is_held {
            self.claimed.remove(key);
        }
        is_held
    }

    fn complete(&mut self, key: &Key, token: ClaimToken, retention: Duration) -> bool {
        let now = Instant::now();
        let is_held = self.end_claim(key, token, now);
        if is_held {
            // Removes up to two expired events for each new one, so that memory is gradually freed
            // when traffic drops.
            for _ in 0..2 {
                match self.completed.peek_lru() {
                    Some((_, completion)) if completion.until <= now => self.completed.pop_lru(),
                    _ => break,
                };
            }
            if self.completed.len() >= self.capacity {
                self.completed.pop_lru();
            }
            let until = end(now, retention);
            self.completed
                .push(key.clone(), Completion { retention, until });
        }
        is_held
    }
}

fn end(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + FAR)
}

impl IdempotencyStore for MemoryStore {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        Ok(self.state().claim(key, lease))
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        Ok(self.state().complete(key, token, time))
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        Ok(self.state().end_claim(key, token, Instant::now()))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("claimed", &state.claimed.len())
            .field("completed", &state.completed.len())
            .field("capacity", &state.capacity)
            .finish()
    }
}
