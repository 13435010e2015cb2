//! Limits the number of open connections. Each connection holds a slot. If all slots are taken, the
//! connection that has been idle longest is closed to make room for a new one.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, timeout},
};

use crate::{
    idle::{Idle, Rank},
    limits::Limits,
    report::{Report, count_closed, count_opened},
    trouble::Trouble,
};

/// How far the number of open connections may exceed the limit while old ones are being closed.
const LEAVING: usize = 16;

/// How long the number of slots stays reduced after the system failed to open a file.
const LOWERED: Duration = Duration::from_secs(10);

/// How long a connection whose request body makes progress does not count as idle. Otherwise, peers
/// that open connections quickly enough could evict every body that needs several round trips.
const PROGRESS: Duration = Duration::from_secs(2);

/// A server's connection slots.
#[derive(Debug)]
pub(crate) struct Slots {
    max: usize,
    share: usize,
    report: Arc<Report>,
    state: Mutex<State>,
    /// Wakes the loop that waits for a slot.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Connection>,
    idle: Idle,
    /// The number of connections per peer that have not been asked to close.
    peers: HashMap<IpAddr, usize>,
    /// The number of connections that have been asked to close.
    leaving: usize,
    /// A temporarily lowered maximum number of connections, and the time until which it applies.
    lowered: Option<(usize, Instant)>,
    /// A counter that numbers the connections and makes their ranks unique.
    clock: u64,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    requests: usize,
    idle_since: Option<Rank>,
    /// The time until which the progress of a request body counts.
    progress: Option<Instant>,
    is_leaving: bool,
    leave: Arc<Notify>,
}

enum Entry {
    Slot(Slot),
    /// The peer has too many connections.
    Refused,
    /// No slot is free at the moment.
    Full,
}

impl Slots {
    pub(crate) fn new(limits: &Limits, report: Arc<Report>) -> Arc<Self> {
        Arc::new(Self {
            max: limits.max_connections,
            share: limits.share(),
            report,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Waits for a slot, and returns `None` if the peer has too many connections.
    pub(crate) async fn enter(self: &Arc<Self>, addr: SocketAddr) -> Option<Slot> {
        loop {
            let (entry, trouble) = self.try_enter(addr);
            // This happens after the state has been unlocked, because a `tracing` subscriber may
            // block.
            if let Some(trouble) = trouble {
                let ip = (trouble == Trouble::PeerShare).then_some(addr.ip());
                self.report.note(trouble, ip);
            }
            match entry {
                Entry::Slot(slot) => {
                    count_opened();
                    return Some(slot);
                }
                Entry::Refused => return None,
                // No notification is sent when a lowered maximum rises again, so the wait has a
                // timeout.
                Entry::Full => {
                    let _ = timeout(LOWERED, self.changed.notified()).await;
                }
            }
        }
    }

    fn try_enter(self: &Arc<Self>, addr: SocketAddr) -> (Entry, Option<Trouble>) {
        let peer = peer(addr.ip());
        let mut state = self.lock();
        let max = self.max(&state);
        if state.open.len() >= max.saturating_add(LEAVING) {
            return (Entry::Full, None);
        }
        let mut trouble = None;
        let of_peer = state.peers.get(&peer).copied().unwrap_or_default();
        if of_peer >= self.share && self.share < self.max {
            if !state.evict(max, Some(peer)) {
                return (Entry::Refused, Some(Trouble::PeerShare));
            }
            trouble = Some(Trouble::PeerShare);
        } else if state.open.len() - state.leaving >= max {
            if !state.evict(max, None) {
                return (Entry::Full, Some(Trouble::Full));
            }
            trouble = Some(Trouble::Evicted);
        }
        let id = state.tick();
        let leave = Arc::new(Notify::new());
        let connection = Connection {
            peer,
            requests: 0,
            idle_since: None,
            progress: None,
            is_leaving: false,
            leave: leave.clone(),
        };
        state.open.insert(id, connection);
        *state.peers.entry(peer).or_default() += 1;
        state.set_idle(id);
        let slot = Slot {
            slots: self.clone(),
            id,
            addr,
            leave,
        };
        (Entry::Slot(slot), trouble)
    }

    /// Closes connections and temporarily reduces the number of slots, because the system could
    /// not open a file.
    ///
    /// Afterwards, enough files are free for each new connection to be accepted before an idle one
    /// has been closed to make room for it.
    pub(crate) fn free_files(&self) {
        let mut state = self.lock();
        // Connections that are already closing will soon release their file descriptors.
        if state.leaving > 0 {
            return;
        }
        let free = (self.max / 8).max(2 * LEAVING);
        // Connections with requests in progress keep their slots, and new connections do not have
        // to wait for them to end.
        let busy = state.open.len() - state.idle.len();
        let max = state.open.len().saturating_sub(free).max(busy + LEAVING);
        state.lowered = Some((max, Instant::now() + LOWERED));
        while state.open.len() - state.leaving > max && state.evict(max, None) {}
        let has_evicted = state.leaving > 0;
        drop(state);
        if has_evicted {
            self.report.note(Trouble::Evicted, None);
        }
    }

    /// Waits until a connection ends or becomes idle.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn max(&self, state: &State) -> usize {
        match state.lowered {
            Some((max, end)) if Instant::now() < end => max.min(self.max),
            _ => self.max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn set_idle(&mut self, id: u64) {
        let tick = self.tick();
        if let Some(connection) = self.open.get_mut(&id)
            && !connection.is_leaving
        {
            let now = Instant::now();
            let progress = connection.progress.filter(|progress| *progress > now);
            let rank = (progress.unwrap_or(now), tick);
            connection.idle_since = Some(rank);
            self.idle.insert(rank, id, progress.is_some());
        }
    }

    /// Asks the first idle connection to close. With a `peer`, only that peer's connections are
    /// considered. Returns `false` if none is idle.
    fn evict(&mut self, slots: usize, peer: Option<IpAddr>) -> bool {
        let first = self.idle.first(slots, |id| {
            let connection = self.open.get(&id);
            peer.is_none() || connection.is_some_and(|connection| Some(connection.peer) == peer)
        });
        let Some((rank, id)) = first else {
            return false;
        };
        self.idle.remove(&rank);
        if let Some(connection) = self.open.get_mut(&id) {
            connection.idle_since = None;
            connection.is_leaving = true;
            connection.leave.notify_one();
            self.leaving += 1;
            let peer = connection.peer;
            self.leave_peer(peer);
        }
        true
    }

    fn leave_peer(&mut self, peer: IpAddr) {
        if let Some(count) = self.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
    }
}

/// A connection's slot. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    addr: SocketAddr,
    leave: Arc<Notify>,
}

impl Slot {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resolves when the connection must close to make room for a new one.
    pub(crate) fn leave(&self) -> Notified<'_> {
        self.leave.notified()
    }

    pub(crate) fn requests(&self) -> Requests {
        Requests {
            slots: self.slots.clone(),
            id: self.id,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if let Some(connection) = state.open.remove(&self.id) {
            if let Some(since) = connection.idle_since {
                state.idle.remove(&since);
            }
            if connection.is_leaving {
                state.leaving -= 1;
            } else {
                state.leave_peer(connection.peer);
            }
        }
        drop(state);
        count_closed();
        self.slots.changed.notify_one();
    }
}

/// Marks a connection as busy or idle. This handle may outlive the connection.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Arc<Slots>,
    id: u64,
}

impl Requests {
    /// Records that a request has begun. The connection stays open even if it was asked to close.
    pub(crate) fn begin(&self) {
        let mut state = self.slots.lock();
        let state = &mut *state;
        let Some(connection) = state.open.get_mut(&self.id) else {
            return;
        };
        connection.requests += 1;
        if let Some(since) = connection.idle_since.take() {
            state.idle.remove(&since);
        } else if connection.is_leaving {
            connection.is_leaving = false;
            state.leaving -= 1;
            *state.peers.entry(connection.peer).or_default() += 1;
            self.slots.changed.notify_one();
        }
    }

    /// Records that a request body has made progress.
    pub(crate) fn progress(&self) {
        if let Some(connection) = self.slots.lock().open.get_mut(&self.id) {
            connection.progress = Some(Instant::now() + PROGRESS);
        }
    }

    /// Records that a request has ended.
    pub(crate) fn end(&self) {
        let mut state = self.slots.lock();
        let Some(connection) = state.open.get_mut(&self.id) else {
            return;
        };
        connection.requests -= 1;
        if connection.requests == 0 {
            state.set_idle(self.id);
            drop(state);
            self.slots.changed.notify_one();
        }
    }
}

/// Returns the network that counts as one peer. A single machine usually has an entire IPv6 /64
/// network.
fn peer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}
