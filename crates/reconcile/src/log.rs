//! SoundHash's delivery log, and the queries that read it within the API's limit.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Deserializer, de};
use soundhash_webhook::Id;

/// The maximum number of attempts in an API response.
const LIMIT: usize = 1000;

/// The queries for one endpoint. The API does not support an offset, and its limit applies per
/// query, so one query for each status returns more attempts than a single query.
///
/// The statuses are listed in the order in which an attempt passes through them. An attempt whose
/// status changes between two queries therefore still appears in the second response.
const QUERIES: [&[(&str, &str)]; 5] = [
    &[("limit", "1000")],
    &[("status", "pending"), ("limit", "1000")],
    &[("status", "failed"), ("limit", "1000")],
    &[("status", "retrying"), ("limit", "1000")],
    &[("status", "success"), ("limit", "1000")],
];

/// A delivery attempt, as listed by SoundHash's API.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The id of the attempt.
    pub id: Id,
    /// The event's id in SoundHash's log, which is the same for all endpoints. Deliveries do not
    /// contain it.
    pub event_id: Id,
    /// The attempt number, from 1 to 4.
    #[serde(rename = "attempt_number")]
    pub number: u64,
    /// `pending`, `success`, `failed`, or `retrying` if another attempt follows.
    pub status: String,
    /// The response status, if there was a response.
    pub response_status_code: Option<u16>,
    /// The error, if no response arrived.
    pub error_message: Option<String>,
    /// The duration of the request.
    pub duration_ms: Option<u32>,
    /// The time of the next attempt, if the status is `retrying`.
    #[serde(default, deserialize_with = "optional_time")]
    pub next_retry_at: Option<Timestamp>,
    /// The start of the attempt.
    #[serde(deserialize_with = "time")]
    pub created_at: Timestamp,
    /// The end of the attempt.
    #[serde(default, deserialize_with = "optional_time")]
    pub delivered_at: Option<Timestamp>,
}

impl Attempt {
    /// Returns whether the response was a 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == "success"
    }

    /// Returns the latest time at which the receiver could have recorded this attempt's request.
    pub(crate) fn end(&self) -> Timestamp {
        /// The sender's own timeout, plus some margin.
        const TIMEOUT: SignedDuration = SignedDuration::from_secs(40);

        let duration = self
            .duration_ms
            .map(|ms| SignedDuration::from_millis(ms.into()));
        match self.delivered_at {
            Some(delivered) => delivered.max(self.created_at),
            None => later(self.created_at, duration.unwrap_or(TIMEOUT)),
        }
    }
}

/// The log of one endpoint.
#[derive(Clone, Debug)]
pub struct Log {
    endpoint: Id,
    attempts: BTreeMap<Id, Attempt>,
    /// The number of pages added so far.
    pages: usize,
    /// The time from which every attempt is known, or `None` if the API did not truncate the log.
    seen_from: Option<Timestamp>,
}

impl Log {
    /// Creates an empty log for an endpoint.
    pub fn new(endpoint: impl Into<Id>) -> Self {
        Self {
            endpoint: endpoint.into(),
            attempts: BTreeMap::new(),
            pages: 0,
            seen_from: None,
        }
    }

    /// Returns the query for the next page, or `None` if the log is already known back to `since`,
    /// or as far back as the API goes.
    #[must_use]
    pub fn query(&self, since: Timestamp) -> Option<&'static [(&'static str, &'static str)]> {
        let is_known = self.seen_from.is_none_or(|seen| seen <= since);
        match self.pages {
            0 => Some(QUERIES[0]),
            // The first page was truncated, so the attempts have to be queried by status.
            pages if pages > 1 || !is_known => QUERIES.get(pages).copied(),
            _ => None,
        }
    }

    /// Adds the response to a [`query`](Self::query). If the page has more attempts than the API's
    /// limit, only the latest are kept, as if the API had not returned the rest.
    pub fn add(&mut self, mut page: Vec<Attempt>) {
        if page.len() > LIMIT {
            page.sort_by_key(|attempt| Reverse(attempt.created_at));
            page.truncate(LIMIT);
        }
        let oldest = page.iter().map(|attempt| attempt.created_at).min();
        // The page may lack further attempts that have the same timestamp as its oldest one.
        let seen_from = (oldest.filter(|_| page.len() >= LIMIT))
            .map(|oldest| later(oldest, SignedDuration::from_nanos(1)));
        self.pages += 1;
        // The four per-status pages replace the first page, so all four have to reach back far
        // enough.
        self.seen_from = if self.pages == 2 {
            seen_from
        } else {
            self.seen_from.max(seen_from)
        };
        for attempt in page {
            self.attempts.insert(attempt.id.clone(), attempt);
        }
    }

    /// Returns whether pages have yet to be added before the log shows any time completely.
    pub(crate) fn is_partial(&self) -> bool {
        self.pages != 1 && self.pages < QUERIES.len()
    }

    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Id {
        &self.endpoint
    }

    /// Returns the time from which every attempt is known, or `None` if the API did not truncate
    /// the log.
    #[must_use]
    pub fn seen_from(&self) -> Option<Timestamp> {
        self.seen_from
    }

    /// Returns the attempts.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.values()
    }
}

/// Adds a duration to a time, saturating at the limits of `Timestamp`.
pub(crate) fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(time)
}

fn optional_time<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Timestamp>, D::Error> {
    (Option::<String>::deserialize(value)?.as_deref().map(parse)).transpose()
}

fn time<'de, D: Deserializer<'de>>(value: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(value)?)
}

/// Parses a time. SoundHash writes most times in UTC without an offset.
fn parse<E: de::Error>(text: &str) -> Result<Timestamp, E> {
    let time = text.parse().or_else(|_| {
        let time: civil::DateTime = text.parse()?;
        Ok(time.to_zoned_datetime(TimeZone::UTC)?.timestamp())
    });
    time.map_err(|error: jiff::Error| E::custom(error))
}
