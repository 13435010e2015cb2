//! Bounds the total memory that a layer's unfinished bodies occupy.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    mem,
    ops::RangeBounds,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use http::{Version, request};
use http_body::Body;
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

/// The head start of a body with the lowest cost. The body is treated as this much newer until it
/// first makes progress.
const GRACE: Duration = Duration::from_secs(1);

/// The memory that unfinished bodies may occupy, and the bodies that occupy it.
///
/// If a body does not fit, the body that has gone longest without progress is evicted. A body
/// counts as making progress when the number of received bytes has doubled and is at least a
/// sixteenth of the body's cost. An honest delivery doubles in size within a few round trips,
/// however far away the sender is, but a body that stalls or trickles in does not.
///
/// Until it first makes progress, a body is treated as newer than it is: by one second if it costs
/// 32 KiB, and by less the more it costs. Otherwise, a few chunked bodies of one byte each would
/// evict all bodies whose first bytes arrive later than the head.
///
/// A body counts against the budget while the layer waits for more of it, or for its secrets to be
/// looked up. Its cost is the buffer for its bytes, plus 32 KiB for the task, the connection and
/// the head. For a head of more than 8 KiB, twice the excess is added. Over HTTP/1, the cost also
/// includes the read buffers that hyper keeps for the connection, which count as twice the bytes
/// received, up to 816 KiB. A chunked body costs the full 816 KiB from the start.
///
/// Bodies that have made progress and bodies that have not can each occupy half of the memory, and
/// more if the other half is not fully used. Requests without a body therefore cannot evict
/// deliveries that make progress, and large bodies cannot keep new deliveries out. To lock out
/// distant senders, an attacker would have to send as much as 1/32 of the total memory during each
/// of those senders' round trips.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    started: Group,
    advanced: Group,
}

/// Either the bodies that have made progress or those that have not.
#[derive(Debug, Default)]
struct Group {
    total: usize,
    bodies: BTreeMap<Rank, WaitingBody>,
}

/// The time at which a body last made progress, or its start time plus its grace if it has not made
/// any yet, and a number that makes the rank unique. The body with the lowest rank is evicted
/// first.
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
                true => ReadBuffer::Received,
                false => ReadBuffer::Small,
            },
        }
    }

    /// Takes the body's framing into account. `body` is `None` if the body is complete.
    pub(super) fn with_body(self, body: Option<&axum_core::body::Body>) -> Self {
        let buffer = match body {
            None => ReadBuffer::Small,
            Some(body) => match (self.buffer, body.size_hint().exact()) {
                (ReadBuffer::Received, None) => ReadBuffer::Full,
                (buffer, _) => buffer,
            },
        };
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
    start: Instant,
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
        let start = Instant::now();
        let rank = (start + GRACE, Reverse(waiting.next_id));
        let body = WaitingBody {
            cost: 0,
            bytes: bytes.clone(),
            waker: None,
        };
        waiting.started.bodies.insert(rank, body);
        drop(waiting);
        Self {
            budget: budget.clone(),
            start,
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
        let (own, _) = waiting.groups(self.has_advanced());
        let mut body = own.remove(self.rank).ok_or(BufferFull)?;
        if len >= 2 * self.doubled && LEAST_PART * len >= cost {
            self.doubled = len;
            self.rank.0 = Instant::now();
        } else if !self.has_advanced() {
            self.rank.0 = self.start + grace(cost);
        }
        let (own, other) = waiting.groups(self.has_advanced());
        let excess = (own.total + other.total + cost).saturating_sub(limit);
        let beyond_share = other.total.saturating_sub(limit / 2);
        let from_other = other.lowest(.., excess.min(beyond_share));
        let from_own = own.lowest(..self.rank, excess.saturating_sub(from_other.cost));
        let fits = from_other.cost + from_own.cost >= excess;
        let evicted = if fits {
            body.cost = cost;
            let evicted = other
                .evict(from_other)
                .into_iter()
                .chain(own.evict(from_own))
                .collect();
            own.total += cost;
            own.bodies.insert(self.rank, body);
            evicted
        } else {
            vec![body]
        };
        drop(waiting);
        evicted.into_iter().for_each(WaitingBody::release);
        fits.then_some(()).ok_or(BufferFull)
    }

    fn has_advanced(&self) -> bool {
        self.doubled > 0
    }

    /// Registers `waker`, which is woken if this body is evicted.
    pub(super) fn wait(&self, waker: &Waker) -> Result<(), BufferFull> {
        let mut waiting = self.budget.waiting();
        let (own, _) = waiting.groups(self.has_advanced());
        let body = own.bodies.get_mut(&self.rank).ok_or(BufferFull)?;
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
        let body = waiting.groups(self.has_advanced()).0.remove(self.rank);
        // Dropping a waker can run arbitrary code, so the lock is released first.
        drop(waiting);
        drop(body);
    }
}

impl Waiting {
    /// Returns the body's group, followed by the other group.
    fn groups(&mut self, has_advanced: bool) -> (&mut Group, &mut Group) {
        match has_advanced {
            true => (&mut self.advanced, &mut self.started),
            false => (&mut self.started, &mut self.advanced),
        }
    }
}

/// Returns how much newer than it is a body of this cost is treated until it first makes progress.
fn grace(cost: usize) -> Duration {
    let times_lowest = u32::try_from(cost / OVERHEAD).unwrap_or(u32::MAX);
    GRACE / times_lowest.max(1)
}

/// Bodies that could be evicted, along with their total cost.
#[derive(Default)]
struct Lowest {
    ranks: Vec<Rank>,
    cost: usize,
}

impl Group {
    /// Returns as many of the lowest ranks in `range` as are needed to free `excess` bytes, or all
    /// of them if that is not enough.
    fn lowest(&self, range: impl RangeBounds<Rank>, excess: usize) -> Lowest {
        let mut lowest = Lowest::default();
        for (&rank, body) in self.bodies.range(range) {
            if lowest.cost >= excess {
                break;
            }
            lowest.ranks.push(rank);
            lowest.cost += body.cost;
        }
        lowest
    }

    fn evict(&mut self, lowest: Lowest) -> Vec<WaitingBody> {
        let ranks = lowest.ranks.into_iter();
        ranks.filter_map(|rank| self.remove(rank)).collect()
    }

    fn remove(&mut self, rank: Rank) -> Option<WaitingBody> {
        let body = self.bodies.remove(&rank)?;
        self.total -= body.cost;
        Some(body)
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
