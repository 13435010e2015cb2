//! Matches as many records with events as possible. Each event gets at most one record, whose time
//! must lie within the event's span.

use std::{cmp::Reverse, collections::BinaryHeap};

use jiff::{SignedDuration, Timestamp};

use crate::log::later;

/// The time from `start` to `end`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl Span {
    pub(crate) fn moved(self, by: SignedDuration) -> Self {
        Self {
            start: later(self.start, by),
            end: later(self.end, by),
        }
    }

    pub(crate) fn widened(self, by: SignedDuration) -> Self {
        Self {
            start: later(self.start, -by),
            end: later(self.end, by),
        }
    }
}

/// Returns the index of the event to which each record belongs.
///
/// `spans` must be sorted by start, and `records` by time. Each record is assigned to the candidate
/// event that ends first. No other assignment matches more records.
pub(crate) fn assign(spans: &[Span], records: &[Timestamp]) -> Vec<Option<usize>> {
    let mut begun = 0;
    let mut waiting = BinaryHeap::new();
    let assigned = records.iter().map(|record| {
        while let Some(span) = spans.get(begun).filter(|span| span.start <= *record) {
            waiting.push(Reverse((span.end, begun)));
            begun += 1;
        }
        while waiting.peek().is_some_and(|Reverse((end, _))| end < record) {
            waiting.pop();
        }
        waiting.pop().map(|Reverse((_, index))| index)
    });
    assigned.collect()
}

/// A span in which fewer events were recorded than delivered.
#[derive(Debug)]
pub(crate) struct Shortage {
    pub(crate) span: Span,
    pub(crate) events: Vec<usize>,
    pub(crate) missing: usize,
}

/// Returns the shortest spans that prove that events are missing.
///
/// Consider the span of an event without a record. All records in it belong to other events, none
/// of which ends later than this one. If one of those events starts earlier, the span is extended
/// to its start, and the same applies to the records in the extended span. In the end, all records
/// in the span belong to events in the span, and there is one more event than there are records.
pub(crate) fn shortages(
    spans: &[Span],
    records: &[Timestamp],
    assigned: &[Option<usize>],
) -> Vec<Shortage> {
    let mut has_record = vec![false; spans.len()];
    for index in assigned.iter().flatten() {
        has_record[*index] = true;
    }
    let mut unrecorded: Vec<_> = (0..spans.len())
        .filter(|index| !has_record[*index])
        .collect();
    unrecorded.sort_by_key(|index| spans[*index].end);

    let mut shortages: Vec<Shortage> = Vec::new();
    for index in unrecorded {
        let mut span = spans[index];
        let mut first = records.partition_point(|record| *record <= span.end);
        let mut events = vec![index];
        let mut missing = 1;
        loop {
            let record = records[..first]
                .last()
                .filter(|record| **record >= span.start);
            let reached = record.unwrap_or(&span.start);
            // Overlapping shortages are merged, along with their missing events.
            if let Some(other) = shortages.pop_if(|other| other.span.end >= *reached) {
                span.start = span.start.min(other.span.start);
                first = records.partition_point(|record| *record < other.span.start);
                // Moving the shorter list keeps repeated merging from taking quadratic time.
                let (mut more, mut fewer) = (other.events, events);
                if more.len() < fewer.len() {
                    (more, fewer) = (fewer, more);
                }
                more.append(&mut fewer);
                events = more;
                missing += other.missing;
            } else if record.is_some() {
                first -= 1;
                let event =
                    assigned[first].expect("every record in an unrecorded span is assigned");
                span.start = span.start.min(spans[event].start);
                events.push(event);
            } else {
                break;
            }
        }
        shortages.push(Shortage {
            span,
            events,
            missing,
        });
    }
    for shortage in &mut shortages {
        shortage.events.sort_unstable();
    }
    shortages
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_missing_events_at_the_same_time_take_linear_time() {
        let time = Timestamp::UNIX_EPOCH;
        let spans = vec![
            Span {
                start: time,
                end: time
            };
            300_000
        ];
        let start = Instant::now();
        let shortages = shortages(&spans, &[], &[]);
        assert_eq!((shortages.len(), shortages[0].missing), (1, 300_000));
        assert!(start.elapsed() < Duration::from_secs(60), "quadratic");
    }
}
