//! The state of a connection: waiting for a request head, serving requests, or idle.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use crate::{limits::Limits, slots::Requests};

/// The number of leading bytes of a head that are kept to explain why it is malformed. The longest
/// signature, that of PROXY protocol version 2, is 12 bytes long.
const FIRST: usize = 16;

/// Over HTTP/2, a write of up to this many bytes may consist solely of pings, acknowledgements and
/// window updates.
const CONTROL_FRAMES: usize = 1024;

/// Shared by a connection, its stream and its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    requests: Requests,
    /// Whether the connection's next HTTP/1 request will be its last.
    is_old: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The number of requests that have begun but not yet ended.
    in_progress: usize,
    /// The number of requests in progress that are waiting for the peer to send the request or read
    /// the response.
    waiting: usize,
    /// The number of request bodies that the service has not dropped yet, even if it has already
    /// responded.
    bodies: usize,
    /// Whether the next bytes may be the rest of a request body that the service has dropped.
    has_dropped_body: bool,
    had_request: bool,
    is_http2: bool,
    /// The time since which the connection has only been waiting for the peer.
    idle_since: Instant,
    /// The time at which the first byte of the next head arrived.
    head_since: Option<Instant>,
    first_bytes: Vec<u8>,
}

impl Activity {
    pub(crate) fn new(requests: Requests) -> Self {
        Self {
            requests,
            is_old: AtomicBool::new(false),
            state: Mutex::new(State {
                in_progress: 0,
                waiting: 0,
                bodies: 0,
                has_dropped_body: false,
                had_request: false,
                is_http2: false,
                idle_since: Instant::now(),
                head_since: None,
                first_bytes: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that bytes were read from the stream.
    pub(crate) fn received(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let is_body = mem::take(&mut state.has_dropped_body) || state.bodies > 0;
        if state.in_progress > 0 || is_body || bytes.is_empty() {
            return;
        }
        state.head_since.get_or_insert_with(Instant::now);
        let room = FIRST - state.first_bytes.len();
        state
            .first_bytes
            .extend_from_slice(&bytes[..room.min(bytes.len())]);
        state.is_http2 |= !state.had_request && state.first_bytes.starts_with(b"PRI * HTTP/2.0");
    }

    /// Records that bytes were sent. Over HTTP/2, they may belong to a part of a response body that
    /// hyper took from the service earlier.
    pub(crate) fn sent(&self, written: usize) {
        let mut state = self.lock();
        if !state.is_http2 || state.had_request && written > CONTROL_FRAMES {
            state.idle_since = Instant::now();
        }
    }

    /// Records that a request has begun.
    pub(crate) fn begin(&self) {
        self.requests.begin();
        let mut state = self.lock();
        state.in_progress += 1;
        state.bodies += 1;
        state.has_dropped_body = false;
        state.had_request = true;
        state.head_since = None;
        state.first_bytes.clear();
    }

    /// Records that a request has ended. The request must not be waiting for the peer.
    pub(crate) fn end(&self) {
        self.lock().in_progress -= 1;
        self.rest();
    }

    /// Records that the service has dropped a request body. If the body has not ended, hyper reads
    /// from the connection once more, in case the rest of the body has arrived.
    pub(crate) fn end_body(&self, has_ended: bool) {
        let mut state = self.lock();
        state.bodies -= 1;
        state.has_dropped_body = !has_ended;
    }

    /// Records that a request body has made progress.
    pub(crate) fn progress(&self) {
        self.requests.progress();
    }

    /// Records that a request is now waiting for the peer.
    pub(crate) fn begin_waiting(&self) {
        self.lock().waiting += 1;
        self.rest();
    }

    /// Records that a request is no longer waiting for the peer.
    pub(crate) fn end_waiting(&self) {
        self.requests.begin();
        self.lock().waiting -= 1;
    }

    /// Records that a request has ended or is now waiting for the peer.
    fn rest(&self) {
        let mut state = self.lock();
        if state.is_idle() {
            state.idle_since = Instant::now();
        }
        drop(state);
        self.requests.end();
    }

    /// Makes the next request of an HTTP/1 connection its last.
    pub(crate) fn set_old(&self) {
        self.is_old.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.lock().in_progress > 0
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.lock().is_http2
    }

    pub(crate) fn had_request(&self) -> bool {
        self.lock().had_request
    }

    /// Returns the first bytes of the head that is arriving.
    pub(crate) fn first_bytes(&self) -> Vec<u8> {
        self.lock().first_bytes.clone()
    }

    /// Returns whether part of a head has arrived.
    pub(crate) fn is_mid_head(&self) -> bool {
        let state = self.lock();
        state.in_progress == 0
            && state.head_since.is_some()
            && !(state.is_http2 && state.had_request)
    }

    /// Returns the time at which the connection will be closed if nothing happens, or `None` while
    /// a request is waiting for the server. `ending` is the time at which the connection was asked
    /// to end.
    pub(crate) fn deadline(&self, limits: &Limits, ending: Option<Instant>) -> Option<Instant> {
        let state = self.lock();
        if !state.is_idle() {
            return None;
        }
        let mut idle = state.idle_since + limits.idle_timeout;
        if let Some(ending) = ending {
            idle = idle.min(state.idle_since.max(ending) + limits.head_timeout);
        }
        Some(match state.head_since {
            _ if state.in_progress > 0 => idle,
            _ if !state.had_request => state.idle_since + limits.head_timeout,
            // Over HTTP/2, the bytes received may only be a reply to a ping.
            Some(since) if !state.is_http2 => since + limits.head_timeout,
            _ => idle,
        })
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.in_progress == self.waiting
    }
}
