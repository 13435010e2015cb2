//! Recorded events, and the filter that selects them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use soundhash_webhook::{Event, EventError, Timestamp, idempotency::Key};

/// A recorded event without its body, as returned by [`EventLog::list`](crate::EventLog::list).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventSummary {
    /// The event's key.
    pub key: Key,
    /// The type, such as `video.processed`. `None` if the body is not an event.
    pub event_type: Option<String>,
    /// The [endpoint](soundhash_webhook::Delivery::endpoint) whose secret signed the event, if the
    /// secret provider named it.
    pub endpoint: Option<String>,
    /// The time at which SoundHash created the event.
    pub created_at: Option<Timestamp>,
    /// The time at which the event was first recorded, according to the database's clock.
    pub received_at: SystemTime,
    /// The length of the body in bytes.
    pub body_len: u64,
    /// Whether the event was [forgotten](crate::EventLog::forget), so that its next delivery counts
    /// as new.
    pub is_forgotten: bool,
}

/// A recorded event with its body, as returned by [`EventLog::get`](crate::EventLog::get).
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The event without its body.
    pub summary: EventSummary,
    /// The verified body, byte for byte as SoundHash signed it.
    pub body: Bytes,
}

impl RecordedEvent {
    /// Parses the body.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not an event.
    pub fn event(&self) -> Result<Event, EventError> {
        Event::from_slice(&self.body)
    }
}

/// Shows the length of the body instead of its bytes.
impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

/// Selects events for [`EventLog::list`](crate::EventLog::list).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use soundhash_webhook_sqlx::{Backend, EventFilter, EventLog, EventLogError, EventSummary};
///
/// /// Returns the events of the last hour that have to run again.
/// async fn forgotten<DB: Backend>(
///     log: &EventLog<DB>,
/// ) -> Result<Vec<EventSummary>, EventLogError> {
///     let last_hour = SystemTime::now() - Duration::from_secs(60 * 60);
///     let mut filter = EventFilter::new().forgotten().since(last_hour);
///     let mut events = Vec::new();
///     loop {
///         let page = log.list(&filter).await?;
///         let Some(last) = page.last() else {
///             return Ok(events);
///         };
///         filter = filter.after(last);
///         events.extend(page);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EventFilter {
    pub(crate) event_type: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) since: SystemTime,
    /// Selects only events that come after this time and key in the list.
    pub(crate) before: (SystemTime, String),
    pub(crate) limit: u32,
    pub(crate) forgotten: bool,
}

/// The last second that every database can represent, at the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

impl Default for EventFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl EventFilter {
    /// Selects the 100 most recently recorded events.
    pub fn new() -> Self {
        Self {
            event_type: None,
            endpoint: None,
            since: SystemTime::UNIX_EPOCH,
            before: (SystemTime::UNIX_EPOCH + LAST, String::new()),
            limit: 100,
            forgotten: false,
        }
    }

    /// Selects only events of this type.
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Selects only events for this endpoint.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Selects only events that were recorded at or after `time`.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = time;
        self
    }

    /// Selects only events that were recorded before `time`. This replaces [`after`](Self::after).
    pub fn before(mut self, time: SystemTime) -> Self {
        self.before = (time, String::new());
        self
    }

    /// Selects only events that were [forgotten](crate::EventLog::forget) and have not run again
    /// since.
    pub fn forgotten(mut self) -> Self {
        self.forgotten = true;
        self
    }

    /// Selects the next page: the events that come after `last` in the list. This replaces
    /// [`before`](Self::before), which further pages do not need, because `last` is older.
    pub fn after(mut self, last: &EventSummary) -> Self {
        self.before = (last.received_at, last.key.to_string());
        self
    }

    /// Sets the maximum number of events. The default is 100.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// Converts a time to microseconds since the Unix epoch, clamped to the years that every database
/// can represent.
pub(crate) fn to_micros(time: SystemTime) -> i64 {
    const FIRST: i64 = -62_135_596_800_000_000;

    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => as_micros(after.min(LAST)),
        Err(error) => (-as_micros(error.duration())).max(FIRST),
    }
}

/// Converts a span to microseconds, rounded up and capped at 100 years.
pub(crate) fn span_micros(span: Duration) -> i64 {
    const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

    let span = span.min(LONGEST) + Duration::from_nanos(999);
    as_micros(span)
}

fn as_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn from_micros(micros: i64) -> SystemTime {
    let span = Duration::from_micros(micros.unsigned_abs());
    let time = match micros {
        0.. => SystemTime::UNIX_EPOCH.checked_add(span),
        _ => SystemTime::UNIX_EPOCH.checked_sub(span),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
