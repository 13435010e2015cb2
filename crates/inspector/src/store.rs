//! Keeps the records and notifies readers of new ones.

use std::{
    collections::{HashSet, VecDeque},
    error, fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use soundhash_webhook::idempotency::Key;
use tokio::sync::watch;

use crate::{application::Application, capture::InFlight, random, record::Record};

/// The maximum memory for the first deliveries of events, in bytes.
const MAX_DELIVERIES: usize = 16 * 1024 * 1024;
/// The maximum memory for all other requests, in bytes.
const MAX_OTHERS: usize = 4 * 1024 * 1024;

pub(crate) struct Store {
    /// Identifies this store. An application that is started again numbers its records from 1
    /// again, so a number alone does not identify a record.
    pub(crate) instance: Box<str>,
    rings: Mutex<Rings>,
    /// Changes whenever a record is added or the list is cleared.
    version: watch::Sender<u64>,
    pub(crate) in_flight: Arc<InFlight>,
}

#[derive(Default)]
struct Rings {
    newest: u64,
    received: u64,
    /// All records up to this number have been cleared.
    cleared: u64,
    deliveries: Ring,
    /// The events of `deliveries`.
    events: HashSet<Key>,
    /// Rejected requests and repeated events are kept separately, so that an attacker cannot evict
    /// deliveries.
    others: Ring,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// A record, and the application that received its request.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) record: Arc<Record>,
    pub(crate) application: Application,
}

impl Ring {
    /// Adds a record, and returns the records that were evicted to make room for it.
    fn push(&mut self, entry: Entry, max_records: usize, max_bytes: usize) -> Vec<Entry> {
        let mut evicted = Vec::new();
        let size = entry.record.size();
        while self.entries.len() >= max_records.max(1) || self.bytes + size > max_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.record.size();
            evicted.push(oldest);
        }
        self.bytes += size;
        self.entries.push_back(entry);
        evicted
    }

    fn after(&self, number: u64) -> impl Iterator<Item = &Entry> {
        let first = (self.entries).partition_point(|it| it.record.number <= number);
        self.entries.range(first..)
    }
}

/// The changes since a given record number.
pub(crate) struct Changes {
    /// The new records, oldest first.
    pub(crate) records: Vec<Arc<Record>>,
    /// The record number after which these changes begin.
    pub(crate) from: u64,
    pub(crate) newest: u64,
    /// Whether all records up to the given number were cleared.
    pub(crate) cleared: bool,
    /// The total number of records since the inspector was created.
    pub(crate) received: u64,
    /// The number of records in the store.
    pub(crate) kept: usize,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            instance: random::token().into(),
            rings: Mutex::default(),
            version: watch::Sender::new(0),
            in_flight: Arc::default(),
        }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        // The lock can only be poisoned by a panic while it is held, and no code that holds it
        // panics.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a record and returns its number.
    pub(crate) fn push(
        &self,
        mut record: Record,
        application: Application,
        capacity: usize,
    ) -> u64 {
        let (number, evicted) = {
            let mut rings = self.rings();
            rings.newest += 1;
            rings.received += 1;
            record.number = rings.newest;
            let key = record.key.as_ref();
            record.is_repetition = key.is_some_and(|key| rings.events.contains(key));
            let is_delivery = record.is_delivery();
            let entry = Entry {
                record: Arc::new(record),
                application,
            };
            let evicted = if is_delivery {
                rings.events.extend(entry.record.key.clone());
                let evicted = rings.deliveries.push(entry, capacity, MAX_DELIVERIES);
                for key in evicted.iter().flat_map(|it| &it.record.key) {
                    rings.events.remove(key);
                }
                evicted
            } else {
                rings.others.push(entry, capacity, MAX_OTHERS)
            };
            (rings.newest, evicted)
        };
        // The evicted records are freed after the lock has been released.
        drop(evicted);
        self.version.send_modify(|version| *version += 1);
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<Entry> {
        let rings = self.rings();
        let before = number.checked_sub(1)?;
        let found = [&rings.deliveries, &rings.others]
            .into_iter()
            .filter_map(|ring| ring.after(before).next())
            .find(|entry| entry.record.number == number);
        found.cloned()
    }

    pub(crate) fn clear(&self) {
        let cleared = {
            let mut rings = self.rings();
            // Clearing also uses up a number, so that even a page that is up to date notices it.
            let newest = rings.newest + 1;
            let empty = Rings {
                newest,
                received: rings.received,
                cleared: newest,
                ..Rings::default()
            };
            mem::replace(&mut *rings, empty)
        };
        // The cleared records are freed after the lock has been released.
        drop(cleared);
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn after(&self, number: u64) -> Changes {
        let rings = self.rings();
        let cleared = number < rings.cleared || number > rings.newest;
        let from = number.max(rings.cleared);
        let entries = rings.deliveries.after(from).chain(rings.others.after(from));
        let mut records: Vec<_> = entries.map(|it| it.record.clone()).collect();
        let (newest, received) = (rings.newest, rings.received);
        let kept = rings.deliveries.entries.len() + rings.others.entries.len();
        drop(rings);
        records.sort_unstable_by_key(|record| record.number);
        Changes {
            records,
            from,
            newest,
            cleared,
            received,
            kept,
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Record>> {
        self.after(0).records
    }

    pub(crate) fn newest(&self) -> u64 {
        self.rings().newest
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// Receives finished records. See [`Inspector::subscribe`](crate::Inspector::subscribe).
///
/// The subscription reads from the inspector's memory and does not hold records itself. If a
/// program reads too slowly, the inspector evicts records before they are read, and
/// [`recv`](Self::recv) returns an error.
pub struct Subscription {
    store: Arc<Store>,
    version: watch::Receiver<u64>,
    /// The number of the last record that was returned.
    last: u64,
}

impl Subscription {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let version = store.watch();
        let last = store.newest();
        Self {
            store,
            version,
            last,
        }
    }

    /// Waits for the next record and returns it.
    ///
    /// This method is cancel safe. If the future is dropped before it completes, no record is lost.
    ///
    /// # Errors
    ///
    /// Returns [`Lagged`] if records were evicted before they were read. The next call returns the
    /// oldest remaining record.
    pub async fn recv(&mut self) -> Result<Arc<Record>, Lagged> {
        loop {
            self.version.mark_unchanged();
            let changes = self.store.after(self.last);
            if let Some(record) = changes.records.into_iter().next() {
                let skipped = record.number - changes.from - 1;
                if skipped > 0 {
                    self.last = record.number - 1;
                    return Err(Lagged { skipped });
                }
                self.last = record.number;
                return Ok(record);
            }
            self.last = changes.newest;
            // The store holds the sender, so this never fails.
            let _ = self.version.changed().await;
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// The error that a [`Subscription`] returns if records were evicted before it read them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lagged {
    /// The number of records that were lost.
    pub skipped: u64,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records were evicted before they were read",
            self.skipped
        )
    }
}

impl error::Error for Lagged {}
