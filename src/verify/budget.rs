//! Bounds the memory that all unfinished bodies of a layer occupy together.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use http::Version;
use http_body::Body;
use tokio::time::Instant;

use crate::rejection::{Rejection, RejectionKind};

/// The size to which hyper's HTTP/1 read buffers grow while a peer sends fast. There are two of
/// 408 KiB each: the one that hyper reads into, and the one that holds the last frame. They keep
/// that size during a wait, however little of the body has arrived.
const READ_BUFFERS: usize = 2 * 408 * 1024;

/// The memory that a body costs in addition to its bytes: its task, the read buffer that contains
/// its head, and the first read buffer after that.
const OVERHEAD: usize = 32 * 1024;

/// The memory that unfinished bodies may occupy, and the bodies that occupy it.
///
/// If a body does not fit, the body that has gone longest without doubling in length gives way. An
/// honest body doubles within a few round trips, even if its sender is far away. A body that stalls
/// or arrives byte by byte does not. To keep its place, an attacker has to send as much as honest
/// senders do.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    next_id: u64,
    bodies: BTreeMap<Rank, WaitingBody>,
}

/// The time at which a body last doubled, and a unique number. The body with the lowest rank gives
/// way first.
type Rank = (Instant, Reverse<u64>);

#[derive(Debug)]
struct WaitingBody {
    cost: usize,
    bytes: Arc<Mutex<Option<Vec<u8>>>>,
    waker: Option<Waker>,
}

/// The error of a body that does not fit, or that had to give way to another body.
#[derive(Debug)]
pub(super) struct BufferFull;

impl From<BufferFull> for Rejection {
    fn from(_: BufferFull) -> Self {
        Self::new(RejectionKind::BufferFull)
    }
}

/// The memory that the server's connection holds for an unfinished body.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServerBuffer {
    /// HTTP/2 limits the memory by flow control.
    Small,
    /// The read buffer has grown by what has arrived.
    Received,
    /// The body is chunked. Chunk sizes and extensions of any length also fill the read buffer.
    Full,
}

impl ServerBuffer {
    pub(super) fn of(version: Version, body: &impl Body) -> Self {
        if version >= Version::HTTP_2 {
            Self::Small
        } else if body.size_hint().exact().is_some() {
            Self::Received
        } else {
            Self::Full
        }
    }

    fn bytes(self, received: usize) -> usize {
        match self {
            Self::Small => 0,
            Self::Received => (2 * received).min(READ_BUFFERS),
            Self::Full => READ_BUFFERS,
        }
    }
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            waiting: Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

/// The memory of one unfinished body. Dropping it frees the memory.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    rank: Rank,
    /// `None` once the body has given way to another body.
    bytes: Arc<Mutex<Option<Vec<u8>>>>,
    len: usize,
    /// The length when the body last doubled.
    doubled: usize,
    /// The maximum length of the body.
    max_len: usize,
    server: ServerBuffer,
}

impl Place {
    pub(super) fn new(budget: &Arc<Budget>, server: ServerBuffer, max_len: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Some(Vec::new())));
        let mut waiting = budget.waiting();
        waiting.next_id += 1;
        let rank = (Instant::now(), Reverse(waiting.next_id));
        let body = WaitingBody {
            cost: 0,
            bytes: bytes.clone(),
            waker: None,
        };
        waiting.bodies.insert(rank, body);
        drop(waiting);
        Self {
            budget: budget.clone(),
            rank,
            bytes,
            len: 0,
            doubled: 0,
            max_len,
            server,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of a frame.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), BufferFull> {
        let len = self.len + frame.len();
        let before = lock(&self.bytes).as_ref().map(Vec::capacity);
        let mut capacity = before.ok_or(BufferFull)?;
        if len > capacity {
            let most = self.max_len.min(self.budget.limit);
            capacity = (2 * capacity).min(most).max(len);
        }
        self.make_room(capacity, len)?;
        match &mut *lock(&self.bytes) {
            Some(bytes) => {
                bytes.reserve_exact(capacity - self.len);
                bytes.extend_from_slice(frame);
                self.len = len;
                Ok(())
            }
            None => Err(BufferFull),
        }
    }

    /// Counts `capacity` bytes for this body, of which `len` are in use. Bodies with a lower rank
    /// give way if necessary.
    fn make_room(&mut self, capacity: usize, len: usize) -> Result<(), BufferFull> {
        let limit = self.budget.limit;
        if capacity > limit {
            return Err(BufferFull);
        }
        // A body always fits if it is the only one, even if a read buffer exceeds the limit.
        let cost = (capacity + self.server.bytes(len) + OVERHEAD).min(limit);
        let mut behind = Vec::new();
        let mut waiting = self.budget.waiting();
        let mut body = waiting.remove(self.rank).ok_or(BufferFull)?;
        if len >= 2 * self.doubled {
            self.doubled = len;
            self.rank.0 = Instant::now();
        }
        while waiting.total + cost > limit {
            match waiting.bodies.first_key_value() {
                Some((&rank, _)) if rank < self.rank => behind.extend(waiting.remove(rank)),
                _ => {
                    behind.push(body);
                    drop(waiting);
                    behind.into_iter().for_each(WaitingBody::give_way);
                    return Err(BufferFull);
                }
            }
        }
        body.cost = cost;
        waiting.total += cost;
        waiting.bodies.insert(self.rank, body);
        drop(waiting);
        behind.into_iter().for_each(WaitingBody::give_way);
        Ok(())
    }

    /// Registers `waker`, which is woken if this body has to give way.
    pub(super) fn wait(&self, waker: &Waker) -> Result<(), BufferFull> {
        let mut waiting = self.budget.waiting();
        let body = waiting.bodies.get_mut(&self.rank).ok_or(BufferFull)?;
        match &mut body.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Ok(())
    }

    /// Returns the appended bytes.
    pub(super) fn take(&self) -> Result<Bytes, BufferFull> {
        let bytes = lock(&self.bytes).take();
        bytes.map(Bytes::from).ok_or(BufferFull)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.waiting().remove(self.rank);
    }
}

impl Waiting {
    fn remove(&mut self, rank: Rank) -> Option<WaitingBody> {
        let body = self.bodies.remove(&rank)?;
        self.total -= body.cost;
        Some(body)
    }
}

impl WaitingBody {
    /// Frees the memory at once and wakes the task, which then answers its request.
    fn give_way(self) {
        drop(mem::take(&mut *lock(&self.bytes)));
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

/// Locks a mutex. Nothing panics while one of them is held, so poisoning can be ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
