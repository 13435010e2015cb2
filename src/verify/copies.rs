//! Limits how many copies of one delivery are handled at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::signature::Signature;

/// The maximum number of copies. SoundHash makes four attempts to deliver an event, one at a time,
/// so any others come from someone who has recorded the delivery.
const MAX_COPIES: u32 = 64;

/// The number of copies of each delivery that are being handled.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<HashMap<u64, u32>>);

/// A copy that is being handled until this is dropped.
pub(super) struct Handled {
    copies: Arc<Copies>,
    delivery: u64,
}

impl Copies {
    /// Counts a verified delivery. Returns `None` if [`MAX_COPIES`] are already being handled.
    pub(super) fn handle(self: &Arc<Self>, signature: &Signature) -> Option<Handled> {
        let delivery = signature.first_word();
        let mut counts = self.counts();
        let count = counts.entry(delivery).or_default();
        if *count == MAX_COPIES {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Handled {
            copies: self.clone(),
            delivery,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let mut counts = self.copies.counts();
        if let Some(count) = counts.get_mut(&self.delivery) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.delivery);
            }
        }
    }
}
