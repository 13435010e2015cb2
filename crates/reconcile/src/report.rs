//! The result of a comparison.

use jiff::Timestamp;
use serde::Serialize;
use soundhash_webhook::Id;

/// The result of [`reconcile`](crate::reconcile).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The beginning of the window.
    pub since: Timestamp,
    /// The end of the window.
    pub until: Timestamp,
    /// The number of events that SoundHash delivered to at least one endpoint.
    pub delivered: usize,
    /// The number of delivered events that have a record, or `None` if no records were given.
    pub recorded: Option<usize>,
    /// The number of records that do not belong to any event in SoundHash's log.
    pub extra: usize,
    /// Events that were never delivered to an endpoint, ordered by first attempt.
    pub failed: Vec<Failed>,
    /// Periods in which fewer events were recorded than delivered.
    pub gaps: Vec<Gap>,
    /// Parts of the window for which SoundHash's API does not show every attempt.
    pub unseen: Vec<Unseen>,
}

/// Whether every event arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every event that SoundHash sent was delivered and, if records were given, recorded.
    Complete,
    /// At least one event is missing.
    Missing,
    /// No event is known to be missing, but the API does not show part of the log, or an event can
    /// still arrive.
    Unknown,
}

/// An event that was never delivered to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failed {
    /// The endpoint.
    pub endpoint: Id,
    /// The event's id in SoundHash's log.
    pub event_id: Id,
    /// The start of the first attempt.
    pub first_attempt_at: Timestamp,
    /// The start of the last attempt.
    pub last_attempt_at: Timestamp,
    /// The number of the last attempt.
    pub attempts: u64,
    /// Whether the event can still arrive.
    pub fate: Fate,
    /// The status of the last response, if there was a response.
    pub response_status_code: Option<u16>,
    /// The error, if no response arrived.
    pub error_message: Option<String>,
    /// Whether the event was delivered to another endpoint.
    pub is_delivered_elsewhere: bool,
    /// Whether there is a record from the time of these attempts that belongs to no other event. If
    /// so, the application may have recorded the event even though SoundHash received no 2xx.
    /// `None` if no records were given.
    pub may_be_recorded: Option<bool>,
}

/// Whether an event that was not delivered can still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The last attempt failed, or SoundHash forgot the next one when it restarted.
    Lost,
    /// An attempt is in progress, or another one will follow.
    Waiting,
    /// SoundHash was stopped during the last attempt and does not know its outcome.
    Unclear,
}

/// A period in which fewer events were recorded than SoundHash delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// The start of the first attempt in this period.
    pub since: Timestamp,
    /// The end of the last attempt in this period.
    pub until: Timestamp,
    /// The number of events that SoundHash delivered in this period.
    pub delivered: usize,
    /// The number of events recorded in this period. If it is 0, every event is missing.
    pub recorded: usize,
    /// The minimum number of missing events.
    pub missing: usize,
    /// The ids of the events delivered in this period, as they appear in SoundHash's log.
    pub event_ids: Vec<Id>,
}

/// A part of the window that SoundHash's API does not show, because it returns at most 1,000
/// attempts per status, or that a [`Log`](crate::Log) does not cover, because further pages were not
/// added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unseen {
    /// The endpoint.
    pub endpoint: Id,
    /// The beginning of the window.
    pub since: Timestamp,
    /// The time from which the API shows every attempt.
    pub until: Timestamp,
}

impl Report {
    /// Returns whether every event arrived.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let is_open = self.failed.iter().any(|failed| failed.fate != Fate::Lost);
        if self.missing() > 0 {
            Verdict::Missing
        } else if is_open || !self.unseen.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Complete
        }
    }

    /// Returns the minimum number of events that are missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        let failed = self.failed.iter().filter(|failed| failed.is_missing());
        failed.count() + self.gaps.iter().map(|gap| gap.missing).sum::<usize>()
    }

    /// Returns the period from the first to the last attempt of the missing events.
    #[must_use]
    pub fn missing_window(&self) -> Option<(Timestamp, Timestamp)> {
        let failed = self.failed.iter().filter(|failed| failed.is_missing());
        let failed = failed.map(|failed| (failed.first_attempt_at, failed.last_attempt_at));
        let gaps = self.gaps.iter().map(|gap| (gap.since, gap.until));
        failed
            .chain(gaps)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

impl Failed {
    /// Returns whether the event is missing: it is lost, or its outcome is unclear and no record
    /// can belong to it.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self.fate {
            Fate::Lost => true,
            Fate::Unclear => self.may_be_recorded == Some(false),
            Fate::Waiting => false,
        }
    }
}
