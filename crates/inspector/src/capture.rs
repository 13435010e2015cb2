//! Copies bodies frame by frame while the application reads them.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The part of a body that was kept.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Box<[u8]>,
    /// The number of bytes that were read, including those that were not kept.
    pub(crate) total: u64,
    /// Whether the end of the body was reached.
    pub(crate) ended: bool,
}

impl Kept {
    /// Copies the first `max` bytes of a complete body.
    pub(crate) fn of(body: &[u8], max: usize) -> Self {
        Self {
            bytes: body[..body.len().min(max)].into(),
            total: body.len() as u64,
            ended: true,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.ended && self.bytes.len() as u64 == self.total
    }
}

/// The copies of requests and responses in progress.
///
/// Any copy may belong to an attacker's request. When the copies reach their memory limit, the
/// oldest copy is dropped. A sender that stalls therefore loses its own copy instead of evicting
/// those of others.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<Copies>);

#[derive(Default)]
struct Copies {
    bytes: BTreeMap<u64, Vec<u8>>,
    /// The total capacity of all copies.
    used: usize,
    next: u64,
}

impl InFlight {
    const MAX: usize = 6 * 1024 * 1024;

    fn copies(&self) -> MutexGuard<'_, Copies> {
        // The lock can only be poisoned by a panic while it is held, and no code that holds it
        // panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a copy and returns its number.
    pub(crate) fn keep(&self, copy: Vec<u8>) -> u64 {
        let mut copies = self.copies();
        copies.next += 1;
        let number = copies.next;
        let evicted = copies.make_room(copy.capacity(), number);
        copies.used += copy.capacity();
        copies.bytes.insert(number, copy);
        drop(copies);
        drop(evicted);
        number
    }

    /// Appends to a copy, unless it was dropped.
    fn add(&self, number: u64, data: &[u8], max: usize) {
        let mut copies = self.copies();
        let Some(mut copy) = copies.remove(number) else {
            return;
        };
        let needed = copy.len() + data.len();
        if needed > copy.capacity() {
            let capacity = needed.max(2 * copy.capacity()).min(max);
            copy.reserve_exact(capacity - copy.len());
        }
        copy.extend_from_slice(data);
        let evicted = copies.make_room(copy.capacity(), number);
        copies.used += copy.capacity();
        copies.bytes.insert(number, copy);
        drop(copies);
        drop(evicted);
    }

    /// Removes a copy and returns it, unless it was dropped.
    pub(crate) fn take(&self, number: u64) -> Option<Vec<u8>> {
        self.copies().remove(number)
    }

    /// Reads a copy, unless it was dropped.
    pub(crate) fn read<T>(&self, number: u64, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.copies().bytes.get(&number).map(|copy| read(copy))
    }
}

impl Copies {
    fn remove(&mut self, number: u64) -> Option<Vec<u8>> {
        let copy = self.bytes.remove(&number)?;
        self.used -= copy.capacity();
        Some(copy)
    }

    /// Removes the oldest copies until `bytes` more bytes fit. Returns the removed copies, so that
    /// they are freed outside the lock.
    fn make_room(&mut self, bytes: usize, number: u64) -> Vec<Vec<u8>> {
        let mut evicted = Vec::new();
        while self.used + bytes > InFlight::MAX
            && let Some(&oldest) = self.bytes.keys().next()
            && oldest != number
        {
            evicted.extend(self.remove(oldest));
        }
        evicted
    }
}

/// A body that is being copied.
pub(crate) struct Recording {
    in_flight: Arc<InFlight>,
    /// The number of the copy, once the first bytes have arrived.
    copy: Option<u64>,
    kept: usize,
    total: u64,
    ended: bool,
    stopped: bool,
    max: usize,
}

impl Recording {
    pub(crate) fn new(max: usize, in_flight: Arc<InFlight>) -> Self {
        Self {
            in_flight,
            copy: None,
            kept: 0,
            total: 0,
            ended: false,
            stopped: false,
            max,
        }
    }

    fn data(&mut self, data: &[u8]) {
        self.total += data.len() as u64;
        let data = &data[..data.len().min(self.max - self.kept)];
        if data.is_empty() {
            return;
        }
        self.kept += data.len();
        match self.copy {
            Some(copy) => self.in_flight.add(copy, data, self.max),
            None => self.copy = Some(self.in_flight.keep(data.to_vec())),
        }
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Stops copying.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Records the result of one poll.
    pub(crate) fn observe(&mut self, polled: &Polled, is_end_stream: bool) {
        if self.stopped {
            return;
        }
        let ended = matches!(polled, Poll::Ready(None));
        if let Poll::Ready(Some(Ok(frame))) = polled
            && let Some(data) = frame.data_ref()
        {
            self.data(data);
        }
        if ended || (polled.is_ready() && is_end_stream) {
            self.end();
        }
    }

    /// Stops recording and returns what was kept.
    pub(crate) fn finish(&mut self) -> Kept {
        self.stop();
        let copy = self.copy.take().and_then(|copy| self.in_flight.take(copy));
        Kept {
            bytes: copy.unwrap_or_default().into_boxed_slice(),
            total: self.total,
            ended: self.ended,
        }
    }

    /// Reads the body if all of it was kept.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if !self.ended || self.kept as u64 != self.total {
            return None;
        }
        match self.copy {
            Some(copy) => self.in_flight.read(copy, read),
            None => Some(read(&[])),
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The result of polling a body.
pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// A body with a function that observes each poll. The function receives the result, and whether
/// the body has ended.
pub(crate) struct Observed<F> {
    pub(crate) body: Body,
    pub(crate) observe: F,
}

impl<F: FnMut(&Polled, bool) + Unpin> http_body::Body for Observed<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        (this.observe)(&polled, this.body.is_end_stream());
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_copies_are_dropped_first() {
        let in_flight = Arc::new(InFlight::default());
        let mut stalled: Vec<_> = (0..200)
            .map(|_| {
                let mut recording = Recording::new(64 * 1024, in_flight.clone());
                recording.data(&vec![0; 60_000]);
                recording
            })
            .collect();
        let mut honest = Recording::new(64 * 1024, in_flight.clone());
        honest.data(b"{");
        honest.data(b"}");
        honest.end();
        assert!(in_flight.copies().used <= InFlight::MAX);
        assert_eq!(&*honest.finish().bytes, b"{}");
        // The oldest copy was dropped.
        let first = stalled[0].finish();
        assert_eq!((first.bytes.len(), first.total), (0, 60_000));
        assert!(!first.is_whole());
        assert_eq!(stalled.pop().unwrap().finish().bytes.len(), 60_000);
        drop(stalled);
        assert_eq!(in_flight.copies().used, 0);
    }

    #[test]
    fn a_copy_grows_up_to_its_limit() {
        let in_flight = Arc::new(InFlight::default());
        let mut recording = Recording::new(1_000, in_flight.clone());
        for _ in 0..300 {
            recording.data(b"1234567");
            assert!(in_flight.copies().used <= 1_000);
        }
        let kept = recording.finish();
        assert_eq!((kept.bytes.len(), kept.total), (1_000, 2_100));
    }
}
