//! Bounds the total memory that a layer's unfinished bodies occupy.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use http::{Version, header::TRANSFER_ENCODING, request};
use tokio::time::Instant;

use crate::rejection::{Rejection, RejectionKind};

/// The size to which hyper's HTTP/1 read buffer grows when a peer sends quickly, which is its
/// default `max_buf_size`. The test `the_read_buffer_of_hyper_has_the_expected_size` measures it.
const READ_BUFFER: usize = 408 * 1024;

/// A connection has two read buffers: one that hyper reads into, and one that holds the last frame.
/// They do not shrink while the layer waits for more of the body.
const READ_BUFFERS: usize = 2 * READ_BUFFER;

/// The memory that a body costs on top of its bytes: the task, the read buffer that contains the
/// head, and the first read buffer after it.
const OVERHEAD: usize = 32 * 1024;

/// The head length that [`OVERHEAD`] already accounts for.
const USUAL_HEAD: usize = 8 * 1024;

/// A body counts as making progress only if the received part is at least one sixteenth of its
/// cost. Otherwise, a sender could keep a lot of memory occupied with only a few bytes.
const LEAST_PART: usize = 16;

/// The minimum cost at which a body that has not made progress counts as costly.
const COSTLY: usize = 2 * OVERHEAD;

/// The memory that unfinished bodies may occupy, and the bodies that occupy it.
///
/// If a body does not fit, the body that has gone longest without progress is evicted. A body
/// counts as making progress when the number of received bytes has doubled and is at least a
/// sixteenth of the body's cost. An honest delivery doubles in size within a few round trips,
/// however far away the sender is, but a body that stalls or trickles in does not.
///
/// A body counts against the budget while the layer waits for more of it, or for its secrets to be
/// looked up. Its cost is the buffer for its bytes, plus 32 KiB for the task, the connection and
/// the head. For a head of more than 8 KiB, twice the excess is added. Over HTTP/1, the cost also
/// includes the read buffers that hyper keeps for the connection, which count as twice the bytes
/// received, up to 816 KiB. A chunked body costs the full 816 KiB from the start.
///
/// Bodies that have made progress can always use half of the memory. The others are divided into
/// cheap and costly ones, and each of these two groups can always use a quarter. Any group can use
/// more while memory is free. Requests without a body therefore cannot evict deliveries that make
/// progress, large bodies cannot keep new deliveries out, and a few chunked bodies of one byte each
/// cannot evict all bodies that have not begun to arrive. To lock out distant senders, an attacker
/// would have to send as much as 1/32 of the total memory during each of those senders' round
/// trips.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    /// One group for each [`Kind`].
    groups: [Group; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The body has not made progress, and costs less than `COSTLY`.
    Cheap,
    /// The body has not made progress, and costs `COSTLY` or more, as a chunked body over HTTP/1
    /// does.
    Costly,
    /// The body has made progress.
    Advanced,
}

#[derive(Debug, Default)]
struct Group {
    total: usize,
    bodies: BTreeMap<Rank, WaitingBody>,
}

/// The time at which a body started or last made progress, and a number that makes the rank unique.
/// The body with the lowest rank is evicted first.
type Rank = (Instant, Reverse<u64>);

#[derive(Debug)]
struct WaitingBody {
    cost: usize,
    bytes: Arc<Mutex<Option<Vec<u8>>>>,
    waker: Option<Waker>,
}

/// The error for a body that does not fit or was evicted.
#[derive(Debug)]
pub(super) struct BufferFull;

impl From<BufferFull> for Rejection {
    fn from(_: BufferFull) -> Self {
        Self::new(RejectionKind::BufferFull)
    }
}

/// The memory that the server holds for an unfinished body.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerMemory {
    head: usize,
    buffer: ReadBuffer,
}

#[derive(Clone, Copy, Debug)]
enum ReadBuffer {
    /// The connection is HTTP/2, whose flow control limits the memory, or the body is complete.
    Small,
    /// The read buffer has grown with the bytes that have arrived.
    Received,
    /// The body is chunked, so chunk sizes and extensions of any length can also fill the read
    /// buffer.
    Full,
}

impl ServerMemory {
    #[inline]
    pub(super) fn new(head: &request::Parts) -> Self {
        Self {
            // The server's buffer for the head grows in powers of two.
            head: (2 * head_len(head)).saturating_sub(2 * USUAL_HEAD),
            buffer: match head.version < Version::HTTP_2 {
                true if head.headers.contains_key(TRANSFER_ENCODING) => ReadBuffer::Full,
                true => ReadBuffer::Received,
                false => ReadBuffer::Small,
            },
        }
    }

    /// Returns the memory that remains in use once the body is complete, when the server no longer
    /// needs a read buffer for it.
    pub(super) fn of_complete_body(self) -> Self {
        let buffer = ReadBuffer::Small;
        Self { buffer, ..self }
    }

    fn bytes(self, received: usize) -> usize {
        self.head
            + match self.buffer {
                ReadBuffer::Small => 0,
                ReadBuffer::Received => (2 * received).min(READ_BUFFERS),
                ReadBuffer::Full => READ_BUFFERS,
            }
    }
}

/// Returns the approximate size of a head in bytes.
fn head_len(head: &request::Parts) -> usize {
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let target = head.uri.path_and_query();
    fields.sum::<usize>() + target.map_or(0, |target| target.as_str().len())
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            limit: AtomicUsize::new(32 * 1024 * 1024),
            waiting: Mutex::default(),
        }
    }
}

impl Budget {
    /// Changes the limit for all layers that share the budget. If the new limit is lower, bodies
    /// are evicted only when another body needs room.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

/// The memory that one unfinished body occupies. Dropping the reservation frees the memory.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    kind: Kind,
    rank: Rank,
    /// `None` once the body has been evicted.
    bytes: Arc<Mutex<Option<Vec<u8>>>>,
    len: usize,
    /// The length when the body last made progress, or 0 if it has not yet made any.
    doubled: usize,
    max_len: usize,
    server: ServerMemory,
}

impl Reservation {
    pub(super) fn new(budget: &Arc<Budget>, server: ServerMemory, max_len: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Some(Vec::new())));
        let mut waiting = budget.waiting();
        waiting.next_id += 1;
        let rank = (Instant::now(), Reverse(waiting.next_id));
        let body = WaitingBody {
            cost: 0,
            bytes: bytes.clone(),
            waker: None,
        };
        let kind = Kind::Cheap;
        waiting.group(kind).bodies.insert(rank, body);
        drop(waiting);
        Self {
            budget: budget.clone(),
            kind,
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

    /// Records that the body is complete, so that the next [`append`](Self::append) no longer
    /// counts the server's read buffer.
    pub(super) fn set_complete(&mut self) {
        self.server = self.server.of_complete_body();
    }

    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), BufferFull> {
        let len = self.len + frame.len();
        let before = lock(&self.bytes).as_ref().map(Vec::capacity);
        let mut capacity = before.ok_or(BufferFull)?;
        if len > capacity {
            let most = self.max_len.min(self.budget.limit());
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

    /// Counts `capacity` bytes against the budget for this body, of which `len` are in use, and
    /// evicts other bodies if necessary.
    fn make_room(&mut self, capacity: usize, len: usize) -> Result<(), BufferFull> {
        let limit = self.budget.limit();
        if capacity > limit {
            return Err(BufferFull);
        }
        // Capped, so that a lone body fits even if its read buffers exceed the limit.
        let cost = (capacity + self.server.bytes(len) + OVERHEAD).min(limit);
        let mut waiting = self.budget.waiting();
        let mut body = waiting.remove(self.kind, self.rank).ok_or(BufferFull)?;
        if len >= 2 * self.doubled && LEAST_PART * len >= cost {
            self.doubled = len;
            self.rank.0 = Instant::now();
        }
        self.kind = if self.doubled > 0 {
            Kind::Advanced
        } else if cost < COSTLY {
            Kind::Cheap
        } else {
            Kind::Costly
        };
        let evicted = waiting.evict(self.kind, self.rank, cost, limit);
        let fits = evicted.is_some();
        let evicted = if let Some(evicted) = evicted {
            body.cost = cost;
            let group = waiting.group(self.kind);
            group.total += cost;
            group.bodies.insert(self.rank, body);
            evicted
        } else {
            vec![body]
        };
        drop(waiting);
        evicted.into_iter().for_each(WaitingBody::release);
        fits.then_some(()).ok_or(BufferFull)
    }

    /// Registers `waker`, which is woken if this body is evicted.
    pub(super) fn wait(&self, waker: &Waker) -> Result<(), BufferFull> {
        let mut waiting = self.budget.waiting();
        let bodies = &mut waiting.group(self.kind).bodies;
        let body = bodies.get_mut(&self.rank).ok_or(BufferFull)?;
        match &mut body.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Ok(())
    }

    pub(super) fn take(&self) -> Result<Bytes, BufferFull> {
        let bytes = lock(&self.bytes).take();
        bytes.map(Bytes::from).ok_or(BufferFull)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut waiting = self.budget.waiting();
        let body = waiting.remove(self.kind, self.rank);
        // Dropping a waker can run arbitrary code, so the lock is released first.
        drop(waiting);
        drop(body);
    }
}

impl Kind {
    const ALL: [Self; 3] = [Self::Cheap, Self::Costly, Self::Advanced];

    /// Returns how much memory the bodies of this kind can always use.
    fn share(self, limit: usize) -> usize {
        match self {
            Self::Cheap | Self::Costly => limit / 4,
            Self::Advanced => limit / 2,
        }
    }
}

impl Waiting {
    fn group(&mut self, kind: Kind) -> &mut Group {
        &mut self.groups[kind as usize]
    }

    fn remove(&mut self, kind: Kind, rank: Rank) -> Option<WaitingBody> {
        let group = self.group(kind);
        let body = group.bodies.remove(&rank)?;
        group.total -= body.cost;
        Some(body)
    }

    /// Evicts bodies to make room for a body of this kind, rank and cost. Bodies of other kinds
    /// that use more than their share are evicted first, then those of the same kind with a lower
    /// rank. If that would not be enough, evicts none and returns `None`.
    fn evict(
        &mut self,
        kind: Kind,
        rank: Rank,
        cost: usize,
        limit: usize,
    ) -> Option<Vec<WaitingBody>> {
        let total: usize = self.groups.iter().map(|group| group.total).sum();
        let mut excess = (total + cost).saturating_sub(limit);
        let mut lowest = Vec::new();
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        for group_kind in others.chain([kind]) {
            let group = &self.groups[group_kind as usize];
            let is_own = group_kind == kind;
            let mut available = match is_own {
                true => usize::MAX,
                false => group.total.saturating_sub(group_kind.share(limit)),
            };
            for (&candidate, body) in &group.bodies {
                if excess == 0 || available == 0 || is_own && candidate > rank {
                    break;
                }
                lowest.push((group_kind, candidate));
                excess = excess.saturating_sub(body.cost);
                available = available.saturating_sub(body.cost);
            }
        }
        let bodies = lowest.into_iter();
        (excess == 0).then(|| {
            bodies
                .filter_map(|(kind, rank)| self.remove(kind, rank))
                .collect()
        })
    }
}

impl WaitingBody {
    /// Frees the memory immediately and wakes the task, which then responds with 503.
    fn release(self) {
        drop(mem::take(&mut *lock(&self.bytes)));
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

/// Locks a mutex. No code panics while it holds one, so poisoning can be ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
