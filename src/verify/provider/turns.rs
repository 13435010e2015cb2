//! Limits concurrent lookups, and serves the newest waiter first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::TooManyLookups;

/// The maximum number of waiting lookups, each of which keeps a connection busy. If there are more,
/// the oldest one, which is the least likely to get a turn in time, fails immediately.
const MAX_WAITING: usize = 64;

/// Limits how many lookups of new names run at a time.
///
/// If the oldest waiter went first, an attacker who makes up names faster than they can be looked
/// up could fill the queue, and every request would time out before its name's turn came. The
/// newest waiter goes first instead, so that every name has the same chance of being looked up in
/// time.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The newest waiter is at the back.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to look up a name. On drop, it passes to the newest waiter.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let waiting = VecDeque::new();
        Arc::new(Self(Mutex::new(State { free: max, waiting })))
    }

    /// Waits for a turn. Returns an error if too many newer lookups are waiting.
    pub(super) async fn next(self: &Arc<Self>) -> Result<Turn, TooManyLookups> {
        let (turn, oldest) = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(self.clone())));
            }
            let (sender, turn) = oneshot::channel();
            // Waiters whose requests have been dropped do not count towards the maximum.
            state.waiting.retain(|waiter| !waiter.is_closed());
            state.waiting.push_back(sender);
            let is_full = state.waiting.len() > MAX_WAITING;
            (turn, is_full.then(|| state.waiting.pop_front()))
        };
        drop(oldest);
        turn.await.map_err(|_| TooManyLookups)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let mut state = turns.state();
            let Some(newest) = state.waiting.pop_back() else {
                state.free += 1;
                return;
            };
            drop(state);
            match newest.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // This waiter has been dropped, so the turn goes to the next one.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}
