//! Compares endpoint logs with records in a time window.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    iter,
};

use jiff::{SignedDuration, Timestamp};
use soundhash_webhook::Id;

use crate::{
    log::{Attempt, Log, later},
    matching::{Span, assign, shortages},
    report::{Failed, Fate, Gap, Report, Unseen},
};

/// A retry that is this late will no longer happen, because SoundHash was restarted and forgot it.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// The maximum time between an attempt and its record, in addition to the clock difference. The
/// comparison also tries clock differences in steps of this size.
const TOLERANCE: SignedDuration = SignedDuration::from_millis(500);

/// A delivery that your application recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The time at which the delivery was received or recorded, before the response was sent.
    pub time: Timestamp,
    /// Identifies the event, so that duplicates count once. A record without a key counts as a
    /// separate event.
    pub key: Option<String>,
}

/// Selects events by the time of their first attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Window {
    /// The start of the window, inclusive.
    pub since: Timestamp,
    /// The end of the window, exclusive.
    pub until: Timestamp,
    /// The current time, which decides whether a retry can still happen.
    pub now: Timestamp,
    /// The maximum difference between SoundHash's clock and the clock used for the records. The
    /// default is 10 seconds. More than an hour counts as an hour.
    pub clock_difference: SignedDuration,
}

impl Window {
    /// The age after which SoundHash no longer retries an event.
    pub const SETTLED: SignedDuration = SignedDuration::from_mins(20);

    /// Creates a window.
    #[must_use]
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Self {
            since,
            until,
            now: Timestamp::now(),
            clock_difference: SignedDuration::from_secs(10),
        }
    }
}

/// Finds the events in a window that never arrived.
///
/// `logs` are the logs of all endpoints whose events `recorded` may contain. Records from outside
/// the window may be included. Without records, the report contains only the events that SoundHash
/// itself failed to deliver.
///
/// The result does not depend on the order of the logs, attempts and records. If every event that
/// was delivered has a record, no event is reported as missing.
#[must_use]
pub fn reconcile(logs: &[Log], recorded: Option<&[Record]>, window: &Window) -> Report {
    let stories: Vec<_> = logs.iter().flat_map(|log| stories(log, window)).collect();

    // An event may be sent to several endpoints, but is recorded only once.
    let mut spans: BTreeMap<&Id, Span> = BTreeMap::new();
    let mut delivered: HashSet<&Id> = HashSet::new();
    for story in &stories {
        let span = spans.entry(&story.last.event_id).or_insert(story.span);
        span.start = span.start.min(story.span.start);
        span.end = span.end.max(story.span.end);
        if story.is_in_window && story.is_delivered {
            delivered.insert(&story.last.event_id);
        }
    }
    let undelivered = |story: &&Story<'_>| story.is_in_window && !story.is_delivered;
    let mut failed: Vec<_> = (stories.iter().filter(undelivered))
        .map(|story| Failed {
            endpoint: story.endpoint.clone(),
            event_id: story.last.event_id.clone(),
            first_attempt_at: story.span.start,
            last_attempt_at: story.last.created_at,
            attempts: story.last.number,
            fate: fate(story.last, window.now),
            response_status_code: story.last.response_status_code,
            error_message: story.last.error_message.clone(),
            is_delivered_elsewhere: delivered.contains(&story.last.event_id),
            may_be_recorded: None,
        })
        .collect();
    failed.sort_by_cached_key(|it| {
        (
            it.first_attempt_at,
            it.event_id.clone(),
            it.endpoint.clone(),
        )
    });
    let mut report = Report {
        since: window.since,
        until: window.until,
        delivered: delivered.len(),
        recorded: None,
        extra: 0,
        failed,
        gaps: Vec::new(),
        unseen: unseen(logs, window),
    };
    if let Some(recorded) = recorded {
        let mut delivered: Vec<_> = delivered.into_iter().map(|id| (spans[id], id)).collect();
        delivered.sort_unstable();
        compare(&mut report, &delivered, &spans, &distinct(recorded), window);
    }
    report
}

/// Compares the delivered events with the records, and adds the result to the report.
fn compare(
    report: &mut Report,
    delivered: &[(Span, &Id)],
    all: &BTreeMap<&Id, Span>,
    records: &[Timestamp],
    window: &Window,
) {
    let limit = SignedDuration::from_hours(1);
    let largest = window.clock_difference.clamp(-limit, limit).abs();
    let spans = delivered.iter().map(|(span, _)| span.widened(TOLERANCE));
    let spans: Vec<_> = spans.collect();
    let moved = |records: &[Timestamp], offset: SignedDuration| -> Vec<_> {
        records.iter().map(|it| later(*it, -offset)).collect()
    };
    let start = spans.first().map_or(window.since, |span| span.start);
    let end = spans.iter().map(|span| span.end).max().unwrap_or(start);
    // The clock difference is the offset that leaves the fewest events without a record.
    let (mut recorded, mut offset) = (0, SignedDuration::ZERO);
    for other in iter::once(offset).chain(offsets(largest)) {
        if recorded == delivered.len() {
            break;
        }
        // Records outside the time span of all events cannot match any of them.
        let before = records.partition_point(|it| *it < later(start, other));
        let until = records.partition_point(|it| *it <= later(end, other));
        let near = &records[before..until];
        if near.len() > recorded {
            let found = assign(&spans, &moved(near, other)).iter().flatten().count();
            if found > recorded {
                (recorded, offset) = (found, other);
            }
        }
    }
    let moved = moved(records, offset);
    let assigned = assign(&spans, &moved);
    // Without delivered events, the clock difference cannot be determined, so the spans are widened
    // by the maximum difference.
    let tolerance = [TOLERANCE, largest][usize::from(delivered.is_empty())];
    report.recorded = Some(recorded);
    for shortage in shortages(&spans, &moved, &assigned) {
        let events = shortage.events.iter().map(|index| delivered[*index]);
        let times = events.clone().map(|(span, _)| (span.start, span.end));
        let times = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (since, until) = times.unwrap_or((window.since, window.until));
        report.gaps.push(Gap {
            since,
            until,
            delivered: shortage.events.len(),
            recorded: shortage.events.len() - shortage.missing,
            missing: shortage.missing,
            event_ids: events.map(|(_, id)| id.clone()).collect(),
        });
    }

    let left: Vec<_> = (records.iter().zip(&assigned))
        .filter(|(_, event)| event.is_none())
        .map(|(record, _)| *record)
        .collect();
    let mut failed: Vec<_> = (report.failed.iter_mut())
        .filter(|failed| !failed.is_delivered_elsewhere)
        .collect();
    let span = |failed: &Failed| all[&failed.event_id].moved(offset).widened(tolerance);
    // An event that failed at several endpoints can still have only one record.
    let spans = failed.iter().map(|it| (span(it), it.event_id.clone()));
    let spans: BTreeSet<_> = spans.collect();
    let (spans, ids): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
    let assigned = assign(&spans, &left);
    let found = assigned.iter().flatten().map(|index| &ids[*index]);
    let found: HashSet<_> = found.collect();
    for failed in &mut failed {
        failed.may_be_recorded = Some(found.contains(&failed.event_id));
    }
    let unseen = report.unseen.iter().map(|unseen| unseen.until).max();
    let since = unseen.unwrap_or(window.since);
    let extra = (left.iter().zip(&assigned))
        .filter(|(record, event)| event.is_none() && (since..window.until).contains(*record));
    report.extra = extra.count();
}

/// Returns the possible clock differences other than zero, smallest first.
fn offsets(largest: SignedDuration) -> impl Iterator<Item = SignedDuration> {
    let steps = largest.as_millis() / TOLERANCE.as_millis();
    let steps = 1..=i32::try_from(steps).unwrap_or(i32::MAX);
    steps.flat_map(|step| [TOLERANCE * step, TOLERANCE * -step])
}

/// The attempts to deliver an event to an endpoint.
struct Story<'a> {
    endpoint: &'a Id,
    span: Span,
    last: &'a Attempt,
    is_delivered: bool,
    is_in_window: bool,
}

fn stories<'a>(log: &'a Log, window: &Window) -> Vec<Story<'a>> {
    let mut attempts: BTreeMap<&Id, Vec<&Attempt>> = BTreeMap::new();
    for attempt in log.attempts() {
        attempts.entry(&attempt.event_id).or_default().push(attempt);
    }
    let stories = attempts.into_values().filter_map(|attempts| {
        let attempts = attempts.into_iter();
        let order = |attempt: &&Attempt| (attempt.number, attempt.created_at, attempt.id.clone());
        let first = attempts.clone().min_by_key(order)?;
        let last = attempts.clone().max_by_key(order)?;
        let span = Span {
            start: attempts.clone().map(|attempt| attempt.created_at).min()?,
            end: attempts.clone().map(Attempt::end).max()?,
        };
        // If the log does not reach back to the first attempt, the event may have started before
        // the window.
        let is_whole = (log.seen_from()).is_none_or(|seen| seen <= span.start && first.number <= 1);
        Some(Story {
            endpoint: log.endpoint(),
            span,
            last,
            // An event that was delivered is not lost, even if a later attempt failed.
            is_delivered: attempts.clone().any(Attempt::is_success),
            is_in_window: is_whole && (window.since..window.until).contains(&span.start),
        })
    });
    stories.collect()
}

/// Returns whether an undelivered event can still arrive.
fn fate(last: &Attempt, now: Timestamp) -> Fate {
    let (due, late) = match last.status.as_str() {
        "retrying" => (last.next_retry_at.unwrap_or(last.created_at), Fate::Lost),
        "pending" => (last.created_at, Fate::Unclear),
        _ => return Fate::Lost,
    };
    match now < later(due, GRACE) {
        true => Fate::Waiting,
        false => late,
    }
}

fn unseen(logs: &[Log], window: &Window) -> Vec<Unseen> {
    let unseen = logs.iter().filter_map(|log| {
        let until = match log.is_partial() {
            true => window.until,
            false => log.seen_from()?,
        };
        (until > window.since).then(|| Unseen {
            endpoint: log.endpoint().clone(),
            since: window.since,
            until: until.min(window.until),
        })
    });
    let mut unseen: Vec<_> = unseen.collect();
    unseen.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    unseen
}

/// Returns the sorted times of the records, keeping only the first record of each event.
fn distinct(records: &[Record]) -> Vec<Timestamp> {
    let mut records: Vec<_> = records.iter().collect();
    records.sort_by_key(|record| record.time);
    let mut keys = HashSet::new();
    records.retain(|record| record.key.as_ref().is_none_or(|key| keys.insert(key)));
    records.into_iter().map(|record| record.time).collect()
}
