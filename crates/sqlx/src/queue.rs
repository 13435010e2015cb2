//! The changes waiting for the next commit, and the writers that commit them.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{
    backend::{Change, Changed},
    error::{EventLogError, TimedOut},
};

/// The maximum number of changes in one commit, and the maximum total size of their bodies.
const BATCH_CHANGES: usize = 512;
const BATCH_BYTES: usize = 8 << 20;

/// The maximum total size of the changes waiting for a commit, in units of 1 KiB. Each change
/// counts as at least one unit.
const QUEUE_UNITS: u32 = 64 << 10;

/// The minimum length at which the queue is searched for callers that have given up. A small event
/// takes about 11 kB.
const LONG: usize = 1024;

/// The changes waiting for the next commit.
pub(crate) struct Queue {
    state: Mutex<State>,
    units: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The length of the queue at which it is searched again.
    long: usize,
    writers: usize,
}

type Reply = Result<Changed, EventLogError>;

pub(crate) struct Waiting {
    pub(crate) change: Change,
    reply: oneshot::Sender<Reply>,
    units: OwnedSemaphorePermit,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            units: Arc::new(Semaphore::new(QUEUE_UNITS as usize)),
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change, and returns the receiver for its result. Also returns a writer if another one
    /// should start.
    pub(crate) async fn push(
        self: &Arc<Self>,
        change: Change,
        limit: Duration,
        writers: usize,
    ) -> Result<(oneshot::Receiver<Reply>, Option<Running>), EventLogError> {
        let units = u32::try_from(1 + change.len() / 1024).unwrap_or(u32::MAX);
        let units = Arc::clone(&self.units).acquire_many_owned(units.min(QUEUE_UNITS));
        let Ok(Ok(units)) = timeout(limit, units).await else {
            return Err(EventLogError::timed_out(TimedOut::Reply, limit));
        };
        let (reply, changed) = oneshot::channel();
        let mut state = self.state();
        // While no writer makes progress, senders that hang up must not fill the memory.
        if state.waiting.len() >= state.long.max(LONG) {
            state.waiting.retain(|waiting| !waiting.reply.is_closed());
            state.long = 2 * state.waiting.len();
        }
        state.waiting.push_back(Waiting {
            change,
            reply,
            units,
        });
        let start = state.writers < writers;
        state.writers += usize::from(start);
        Ok((changed, start.then(|| Running(Some(Arc::clone(self))))))
    }

    /// Takes the next changes, up to the limits of a batch.
    pub(crate) fn next_batch(&self) -> Vec<Waiting> {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.waiting.pop_front() {
            if next.reply.is_closed() {
                continue;
            }
            let len = next.change.len();
            if !batch.is_empty() && (bytes + len > BATCH_BYTES || batch.len() >= BATCH_CHANGES) {
                state.waiting.push_front(next);
                break;
            }
            bytes += len;
            batch.push(next);
        }
        batch
    }
}

impl Change {
    fn len(&self) -> usize {
        match self {
            Self::Record(delivery) => delivery.body().len(),
            Self::Execute(..) => 0,
        }
    }
}

impl Waiting {
    pub(crate) fn reply(self, changed: Reply) {
        // Sending fails if the caller has been dropped.
        let _ = self.reply.send(changed);
        drop(self.units);
    }
}

/// A running writer.
pub(crate) struct Running(Option<Arc<Queue>>);

impl Running {
    /// Returns whether a change is waiting. If none is, this writer ends.
    pub(crate) fn has_next(&mut self) -> bool {
        let Some(queue) = &self.0 else { return false };
        let mut state = queue.state();
        // The channel is closed if the request was dropped.
        state.waiting.retain(|waiting| !waiting.reply.is_closed());
        let has_next = !state.waiting.is_empty();
        if !has_next {
            state.writers -= 1;
            drop(state);
            self.0 = None;
        }
        has_next
    }
}

/// A runtime drops its writers when it shuts down. Another runtime can then use the log.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            let mut state = queue.state();
            state.writers -= 1;
            let waiting = mem::take(&mut state.waiting);
            drop(state);
            // Dropping these changes returns an error to the callers that wait for them.
            drop(waiting);
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: repeat a recorded delivery and hang up, while the table is locked.
    #[tokio::test]
    async fn callers_that_gave_up_do_not_fill_the_memory() {
        let queue = Arc::new(Queue::default());
        let mut live = Vec::new();
        for number in 0..10_000 {
            let change = Change::Execute("".into(), Vec::new());
            let pushed = queue.push(change, Duration::from_mins(1), 0).await;
            let (changed, _) = pushed.unwrap();
            if number % 100 == 0 {
                live.push(changed);
            }
        }
        assert!(queue.state().waiting.len() <= LONG);
        assert_eq!(queue.next_batch().len(), live.len());
    }
}
