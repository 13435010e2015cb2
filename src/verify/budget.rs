use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bytes that all unfinished bodies of a layer may hold together.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    pub(super) fn reserve_nothing(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

/// A request's share of the [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Makes this share `bytes` large; `false`, and no change, if the others leave too little.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes - self.bytes;
        if more == 0 {
            return true;
        }
        let Budget { limit, used } = &self.budget;
        // Relaxed: the counter guards no other memory.
        let reserved = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|total| total <= limit)
        });
        if reserved.is_ok() {
            self.bytes = bytes;
        }
        reserved.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_limit_and_are_given_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.reserve_nothing(), budget.reserve_nothing());
        assert!(a.grow_to(60));
        assert!(b.grow_to(40));
        assert!(!b.grow_to(41));
        drop(a);
        assert!(b.grow_to(100));
        drop(b);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
