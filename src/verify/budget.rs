use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bytes that all unfinished bodies of a layer may hold together.
///
/// There are two shares of the same size: one for bodies that are waited for, and, when that is
/// full, one for bodies that may still be arriving. Without the second, slow senders who fill
/// the first would lock out a delivery that is on its way in several pieces.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    waiting: AtomicUsize,
    arriving: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            waiting: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
        })
    }
}

/// A request's part of the [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    waiting: usize,
    arriving: usize,
}

impl Reservation {
    pub(super) fn nothing(budget: &Arc<Budget>) -> Self {
        Self {
            budget: budget.clone(),
            waiting: 0,
            arriving: 0,
        }
    }

    /// Counts `bytes` as waited for; `false`, and no change, if the others leave too little.
    pub(super) fn wait_with(&mut self, bytes: usize) -> bool {
        let fits = grow(
            &self.budget.waiting,
            self.budget.limit,
            &mut self.waiting,
            bytes,
        );
        if fits {
            self.arrived();
        }
        fits
    }

    /// Counts what does not fit there as still arriving; `false` if there is no room either.
    pub(super) fn arrive_with(&mut self, bytes: usize) -> bool {
        let more = bytes - self.waiting;
        grow(
            &self.budget.arriving,
            self.budget.limit,
            &mut self.arriving,
            more,
        )
    }

    fn arrived(&mut self) {
        let arriving = std::mem::take(&mut self.arriving);
        self.budget.arriving.fetch_sub(arriving, Ordering::Relaxed);
    }
}

/// Makes `part` of the `total` as large as `bytes`, unless the total would exceed the limit.
fn grow(total: &AtomicUsize, limit: usize, part: &mut usize, bytes: usize) -> bool {
    let more = bytes - *part;
    // Relaxed: the counter guards no other memory.
    let grown = total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
        total.checked_add(more).filter(|&total| total <= limit)
    });
    if grown.is_ok() {
        *part = bytes;
    }
    grown.is_ok()
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.arrived();
        self.budget
            .waiting
            .fetch_sub(self.waiting, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_limit_and_are_given_back() {
        let budget = Budget::new(100);
        let [mut a, mut b, mut c] = [(); 3].map(|()| Reservation::nothing(&budget));
        assert!(a.wait_with(60));
        assert!(b.wait_with(40));
        assert!(!b.wait_with(41));
        assert!(b.arrive_with(100));
        assert!(c.arrive_with(40));
        assert!(!c.arrive_with(41));
        drop(a);
        assert!(b.wait_with(100));
        assert!(c.arrive_with(100));
        drop((b, c));
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(budget.arriving.load(Ordering::Relaxed), 0);
    }
}
