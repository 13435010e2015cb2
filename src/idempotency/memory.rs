use std::{
    collections::HashMap,
    fmt,
    future::{self, Future},
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum_core::BoxError;
use lru::LruCache;
// Stands still and jumps with the rest of Tokio's time in a test.
use tokio::time::Instant;

use super::{
    key::Key,
    store::{Claim, IdempotencyStore},
    token::Token,
};

/// Instead of an end that cannot be represented: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// So few claims are not worth looking through.
const SWEEP_AT: usize = 64;

/// An [`IdempotencyStore`] in the memory of one process.
///
/// It is right where **one process** receives an endpoint's deliveries. A restart forgets
/// everything: an event that was completed before it and is sent again after it is acted on
/// again, and with [`max_age`](super::IdempotencyLayer::max_age) a recorded delivery can be
/// replayed once until it is too old. Where that matters, or where there are several
/// processes, use a store that they share, such as `RedisStore` (feature `redis`).
///
/// # Memory
///
/// A completed event with an id of 22 characters takes about 150 bytes, so 100,000 of them take
/// 15 MB; the longest keys take 330. Room is taken as it is needed, not beforehand. When
/// `capacity` events are remembered, the one that was neither completed nor sent again for the
/// longest time gives way. Choose it larger than the number of events in a
/// [`retention`](super::IdempotencyLayer::retention), at the very least in the 9 minutes of
/// SoundHash's retries. Tenants who do not trust each other should not share one: whoever sends
/// many events displaces those of the others.
///
/// Events that are being worked on are not counted: there are as many as there are requests.
/// A claim is never refused for want of room, and never gives way.
pub struct MemoryStore {
    state: Mutex<State>,
}

struct State {
    // Apart from the completed ones, so that no claim can be evicted.
    claimed: HashMap<Key, Lease>,
    completed: LruCache<Key, Instant>,
    /// Claims whose lease ran out are looked for when there are this many.
    sweep_at: usize,
}

struct Lease {
    token: Token,
    until: Instant,
}

impl MemoryStore {
    /// Remembers up to `capacity` completed events.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    #[must_use]
    #[track_caller]
    pub fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).expect("room for at least one event");
        Self {
            state: Mutex::new(State {
                claimed: HashMap::new(),
                completed: LruCache::sparse(capacity),
                sweep_at: SWEEP_AT,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step can panic half-way and leave a state that is not whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn claim(&mut self, key: &Key, lease: Duration) -> Claim {
        let now = Instant::now();
        match self.completed.get(key) {
            Some(until) if now < *until => return Claim::Completed,
            Some(_) => self.completed.pop(key),
            None => None,
        };
        if self.claimed.get(key).is_some_and(|held| now < held.until) {
            return Claim::InProgress;
        }
        if self.claimed.len() >= self.sweep_at {
            self.claimed.retain(|_, held| now < held.until);
            // Doubled, so that each claim pays for looking at two at most.
            self.sweep_at = SWEEP_AT.max(self.claimed.len() * 2);
        }
        let token = Token::unique();
        let until = end(now, lease);
        self.claimed.insert(key.clone(), Lease { token, until });
        Claim::Acquired(token)
    }

    /// Ends a claim, if it is still held by that token.
    fn take(&mut self, key: &Key, token: Token, now: Instant) -> bool {
        let held = self.claimed.get(key);
        let is_held = held.is_some_and(|held| held.token == token && now < held.until);
        if is_held {
            self.claimed.remove(key);
        }
        is_held
    }

    fn complete(&mut self, key: &Key, token: Token, retention: Duration) -> bool {
        let now = Instant::now();
        let is_held = self.take(key, token, now);
        if is_held {
            // Two for one, so that memory is given back when fewer events come.
            for _ in 0..2 {
                match self.completed.peek_lru() {
                    Some((_, until)) if *until <= now => self.completed.pop_lru(),
                    _ => break,
                };
            }
            self.completed.push(key.clone(), end(now, retention));
        }
        is_held
    }
}

fn end(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + FAR)
}

impl IdempotencyStore for MemoryStore {
    fn claim(
        &self,
        key: &Key,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, BoxError>> + Send {
        future::ready(Ok(self.state().claim(key, lease)))
    }

    fn complete(
        &self,
        key: &Key,
        token: Token,
        retention: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        future::ready(Ok(self.state().complete(key, token, retention)))
    }

    fn release(
        &self,
        key: &Key,
        token: Token,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        future::ready(Ok(self.state().take(key, token, Instant::now())))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("claimed", &state.claimed.len())
            .field("completed", &state.completed.len())
            .field("capacity", &state.completed.cap())
            .finish()
    }
}
