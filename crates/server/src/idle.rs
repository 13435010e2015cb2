//! The idle connections, and which of them is closed to make room for a new one.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// The time since which a connection counts as idle, and a number that makes the rank unique.
pub(crate) type Rank = (Instant, u64);

/// The idle connections that have not been asked to close, by rank.
///
/// The connection with the lowest rank is closed first, with one exception: if the connections
/// whose request bodies make progress exceed half of all slots, the lowest of *their* ranks counts.
/// They therefore cannot take the slots of connections that have only just been opened.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    waiting: BTreeMap<Rank, u64>,
    /// The connections whose request bodies have made progress.
    arriving: BTreeMap<Rank, u64>,
}

impl Idle {
    pub(crate) fn insert(&mut self, rank: Rank, id: u64, is_arriving: bool) {
        match is_arriving {
            true => self.arriving.insert(rank, id),
            false => self.waiting.insert(rank, id),
        };
    }

    pub(crate) fn remove(&mut self, rank: &Rank) {
        if self.waiting.remove(rank).is_none() {
            self.arriving.remove(rank);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.arriving.len()
    }

    /// Returns the connection to close, out of those for which `may_close` returns `true`.
    pub(crate) fn first(
        &self,
        slots: usize,
        may_close: impl Fn(u64) -> bool,
    ) -> Option<(Rank, u64)> {
        let lowest = |idle: &BTreeMap<Rank, u64>| {
            let lowest = idle.iter().find(|(_, id)| may_close(**id));
            lowest.map(|(rank, id)| (*rank, *id))
        };
        let (waiting, arriving) = (lowest(&self.waiting), lowest(&self.arriving));
        match self.arriving.len() > slots / 2 {
            true => arriving.or(waiting),
            false => waiting.into_iter().chain(arriving).min(),
        }
    }
}
