//! Tests `reconcile` with logs in the format of SoundHash's API.

use std::time::{Duration, Instant};

use jiff::{civil::DateTime, tz::TimeZone};
use proptest::{collection::vec, prelude::*};
use serde::Deserialize;
use serde_json::{Value, json};
use soundhash_webhook_reconcile::{
    Attempt, Fate, Log, Record, Report, SignedDuration, Timestamp, Verdict, Window, reconcile,
};

/// A time without an offset, as SoundHash writes it.
fn at(second: i64) -> String {
    let time = Timestamp::from_second(1_795_000_000 + second)
        .unwrap()
        .to_string();
    time.trim_end_matches('Z').to_owned()
}

fn record(second: i64) -> Record {
    let time: DateTime = at(second).parse().unwrap();
    Record {
        time: time.to_zoned_datetime(TimeZone::UTC).unwrap().timestamp(),
        key: None,
    }
}

/// Returns an attempt that took 2 seconds.
fn attempt(event: u64, number: u64, status: &str, second: i64) -> Value {
    json!({
        "id": event * 100 + number, "webhook_id": 7, "event_id": event, "attempt_number": number,
        "status": status, "response_status_code": 200, "error_message": null, "duration_ms": 2000,
        "next_retry_at": (status == "retrying").then(|| at(second + 60)),
        "created_at": at(second), "delivered_at": (status != "pending").then(|| at(second + 2)),
        "updated_at": at(second + 2),
    })
}

fn log(endpoint: u64, attempts: &[Value]) -> Log {
    let mut log = Log::new(endpoint);
    log.add(page(attempts.iter()));
    log
}

fn page<'a>(attempts: impl Iterator<Item = &'a Value>) -> Vec<Attempt> {
    attempts
        .map(|it| Attempt::deserialize(it).unwrap())
        .collect()
}

/// Returns a window of 1,000 seconds in which all retries are over and the clocks agree.
fn window() -> Window {
    let mut window = Window::new(record(0).time, record(1000).time);
    window.clock_difference = SignedDuration::ZERO;
    window.now = window.until + Window::SETTLED;
    window
}

fn found(logs: &[Log], records: &[i64]) -> Report {
    let records: Vec<_> = records.iter().map(|second| record(*second)).collect();
    reconcile(logs, Some(&records), &window())
}

#[test]
fn an_event_is_lost_if_no_attempt_succeeded_and_no_other_follows() {
    let attempts = [
        // Event 1 was delivered on the second attempt, and sent again later.
        attempt(1, 1, "retrying", 10),
        attempt(1, 2, "success", 70),
        attempt(1, 3, "failed", 200),
        attempt(2, 3, "retrying", 20),
        attempt(2, 4, "failed", 260),
        attempt(3, 1, "retrying", 30),
        attempt(4, 1, "pending", 40),
        attempt(5, 1, "retrying", 2000),
    ];
    let mut window = window();
    let report = reconcile(&[log(7, &attempts)], None, &window);
    let fates = report.failed.iter();
    let fates = fates.map(|it| (it.event_id.as_u64().unwrap(), it.fate));
    let expected = [(2, Fate::Lost), (3, Fate::Lost), (4, Fate::Unclear)];
    assert!(fates.eq(expected), "{report:#?}");
    assert_eq!((report.missing(), report.verdict()), (2, Verdict::Missing));
    let window_of_missing = (record(20).time, record(260).time);
    assert_eq!(report.missing_window(), Some(window_of_missing));
    assert_eq!(report.recorded, None);

    let unclear = [log(7, &attempts[6..7])];
    let alone = reconcile(&unclear, None, &window);
    assert_eq!(alone.verdict(), Verdict::Unknown);
    assert_eq!(found(&unclear, &[41]).verdict(), Verdict::Unknown);
    assert_eq!(found(&unclear, &[]).verdict(), Verdict::Missing);

    window.now = record(100).time;
    let waiting = reconcile(&[log(7, &attempts[5..6])], None, &window);
    assert_eq!(waiting.failed[0].fate, Fate::Waiting);
    assert_eq!(waiting.verdict(), Verdict::Unknown);
    let empty = reconcile(&[log(7, &[])], Some(&[]), &window);
    assert_eq!(empty.verdict(), Verdict::Complete);
}

#[test]
fn a_log_without_all_of_its_pages_is_unseen() {
    let attempts = [attempt(1, 1, "success", 10)];
    for pages in [0, 2, 3, 4, 5] {
        let mut log = Log::new(7_u64);
        for _ in 0..pages {
            log.add(page(attempts.iter()));
        }
        let report = reconcile(&[log], Some(&[record(11)]), &window());
        let expected = [Verdict::Unknown, Verdict::Complete][usize::from(pages == 5)];
        assert_eq!(report.verdict(), expected, "{pages} pages");
    }
}

#[test]
fn a_clock_difference_has_a_limit() {
    let logs = [log(7, &[attempt(1, 1, "success", 10)])];
    for difference in [SignedDuration::MIN, SignedDuration::MAX] {
        let mut window = window();
        window.clock_difference = difference;
        let report = reconcile(&logs, Some(&[]), &window);
        assert_eq!(report.missing(), 1);
    }
}

#[test]
fn a_success_without_a_record_is_a_gap_in_the_narrowest_time() {
    let seconds = [10, 100, 101, 102, 200, 300];
    let attempts: Vec<_> = (1..)
        .zip(seconds)
        .map(|(event, second)| attempt(event, 1, "success", second))
        .collect();
    let logs = [log(7, &attempts)];
    let all = found(&logs, &[11, 100, 102, 103, 201, 302]);
    assert_eq!(all.verdict(), Verdict::Complete);

    let report = found(&logs, &[11, 101, 102, 301, 500]);
    let gaps = report.gaps.iter();
    let gaps: Vec<_> = gaps
        .map(|it| (it.since, it.delivered, it.recorded))
        .collect();
    assert_eq!(gaps, [(record(100).time, 3, 2), (record(200).time, 1, 0)]);
    let counts = (report.delivered, report.recorded, report.extra);
    assert_eq!(counts, (6, Some(4), 1));
    assert_eq!((report.missing(), report.verdict()), (2, Verdict::Missing));
}

#[test]
fn records_around_a_busy_window_hide_little_in_it() {
    let attempts: Vec<_> = (0..900_i64)
        .map(|second| {
            let mut attempt = attempt(second.unsigned_abs(), 1, "success", second);
            attempt["delivered_at"] = json!(at(second));
            attempt
        })
        .collect();
    let missing = [100, 300, 500, 700];
    let records = (-60..960).filter(|second| !missing.contains(second));
    let records: Vec<_> = records.map(|second| record(second + 3)).collect();
    let mut window = window();
    window.clock_difference = SignedDuration::from_secs(10);
    let report = reconcile(&[log(7, &attempts)], Some(&records), &window);
    // A record from before the window hides one of the four missing events.
    let counts = (report.delivered, report.missing());
    assert_eq!(counts, (900, 3), "{report:#?}");
}

/// With a maximum clock difference of one hour, the comparison tries 14,400 values.
#[test]
fn a_large_clock_difference_takes_little_longer_if_most_events_are_missing() {
    let logs = (0..20_u64).map(|endpoint| {
        let attempts = (0..900_i64).map(|second| {
            let event = endpoint * 1000 + second.unsigned_abs();
            attempt(event, 1, "success", second)
        });
        log(endpoint, &attempts.collect::<Vec<_>>())
    });
    let logs: Vec<_> = logs.collect();
    let records: Vec<_> = (0..500).map(record).collect();
    let mut window = window();
    window.clock_difference = SignedDuration::from_hours(1);
    let start = Instant::now();
    let report = reconcile(&logs, Some(&records), &window);
    assert_eq!((report.delivered, report.missing()), (18_000, 17_500));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn endpoints_share_an_event_and_duplicates_share_a_record() {
    let first = attempt(1, 1, "success", 10);
    let second = [attempt(2, 1, "success", 12), attempt(2, 4, "failed", 12)];
    let [second, failed] = second.map(|second| [first.clone(), second]);
    let logs = [log(7, &second), log(8, &failed)];
    let report = found(&logs, &[11, 13]);
    let counts = (report.delivered, report.recorded, report.extra);
    assert_eq!(counts, (2, Some(2), 0));
    assert!(report.failed[0].is_delivered_elsewhere);

    let copies = [11, 12].map(|second| Record {
        key: Some("a".into()),
        ..record(second)
    });
    assert_eq!(reconcile(&logs, Some(&copies), &window()).missing(), 2);
    let failed = [7, 8].map(|endpoint| log(endpoint, &[attempt(1, 4, "failed", 10)]));
    let report = found(&failed, &[11]);
    let mut failed = report.failed.iter();
    assert!(
        failed.all(|it| it.may_be_recorded == Some(true)),
        "{report:#?}"
    );
    assert_eq!(report.extra, 0);
}

#[test]
fn the_pages_of_each_status_reach_further_back_than_the_first_one() {
    // 1,500 events within the window, every fifth of which failed.
    let all: Vec<_> = (0..1500_u64)
        .map(|event| {
            let status = if event % 5 == 0 { "failed" } else { "success" };
            attempt(event, 1, status, i64::try_from(event).unwrap() / 2)
        })
        .collect();
    let read = |since: i64| {
        let mut log = Log::new(7_u64);
        let mut queries = 0;
        while let Some(query) = log.query(record(since).time) {
            let status = query.iter().find(|(name, _)| *name == "status");
            let attempts = all.iter().rev();
            let attempts = attempts.filter(|it| status.is_none_or(|(_, is)| it["status"] == *is));
            log.add(page(attempts.take(1000)));
            queries += 1;
        }
        (log, queries)
    };
    let (log, queries) = read(300);
    assert_eq!((log.attempts().count(), queries), (1000, 1));
    let (log, queries) = read(0);
    assert_eq!((log.attempts().count(), queries), (1300, 5));
    // The oldest of the latest 1,000 successes is event 251.
    let report = reconcile(&[log], None, &window());
    let seen = record(125).time + SignedDuration::from_nanos(1);
    assert_eq!(report.unseen[0].until, seen);
    assert_eq!(report.failed.len(), 249);
    assert_eq!(report.failed[0].event_id.as_u64(), Some(255));
    assert_eq!(report.delivered, 999);
}

#[test]
fn a_page_beyond_the_limit_is_cut_off() {
    let all: Vec<_> = (0..1200)
        .map(|event: u64| attempt(event, 1, "success", event.cast_signed() / 2))
        .collect();
    let log = log(7, &all);
    assert_eq!(log.attempts().count(), 1000);
    let report = reconcile(&[log], None, &window());
    let seen = record(100).time + SignedDuration::from_nanos(1);
    assert_eq!(report.unseen[0].until, seen);
    assert_eq!(report.delivered, 998);
}

/// An event: when it was sent, how many attempts it took, whether the last one succeeded, how long
/// after its start it was recorded, and which of the two endpoints it was sent to.
type Sent = (i64, u64, bool, i64, u8);

fn logs(sent: &[Sent]) -> [Log; 2] {
    [1, 2].map(|endpoint| {
        let mut attempts = Vec::new();
        for (event, (second, count, succeeds, _, endpoints)) in (0..).zip(sent) {
            for number in 1..=*count {
                let status = match (number == *count, succeeds) {
                    (false, _) => "retrying",
                    (true, true) => "success",
                    (true, false) => "failed",
                };
                if endpoints & endpoint != 0 {
                    let second = second + 60 * i64::try_from(number - 1).unwrap();
                    attempts.push(attempt(event, number, status, second));
                }
            }
        }
        log(endpoint.into(), &attempts)
    })
}

/// Returns a record for each event, made during one of its attempts.
fn records(sent: &[Sent], difference: i64) -> Vec<Record> {
    let records = sent.iter().map(|(second, count, _, delay, _)| {
        let last = second + 60 * (i64::try_from(*count).unwrap() - 1) + 2;
        let mut record = record(second + delay % (last - second + 1));
        record.time += SignedDuration::from_millis(difference);
        record
    });
    records.collect()
}

proptest! {
    #[test]
    fn nothing_that_was_recorded_is_missing(
        sent in vec((-50..1050_i64, 1..5_u64, Just(true), 0..300_i64, 1..4_u8), 0..40),
        extra in vec(-100..1100_i64, 0..10),
        difference in -20_000..20_000_i64,
    ) {
        let mut records = records(&sent, difference);
        records.extend(extra.into_iter().map(record));
        let mut window = window();
        window.clock_difference = SignedDuration::from_secs(20);
        let report = reconcile(&logs(&sent), Some(&records), &window);
        prop_assert_eq!(report.verdict(), Verdict::Complete, "{:#?}", report);
    }

    #[test]
    fn the_order_changes_nothing_and_no_more_is_missing_than_was_left_out(
        sent in vec((0..1000_i64, 1..5_u64, any::<bool>(), 0..300_i64, 1..4_u8), 0..40),
        difference in prop_oneof![Just(0), 0..20_i64],
        left_out in vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut kept = records(&sent, 0);
        let mut missing = 0;
        for index in left_out {
            if !kept.is_empty() {
                kept.swap_remove(index.index(kept.len()));
                missing += 1;
            }
        }
        let mut window = window();
        window.clock_difference = SignedDuration::from_secs(difference);
        let report = reconcile(&logs(&sent), Some(&kept), &window);
        let gaps: usize = report.gaps.iter().map(|gap| gap.missing).sum();
        prop_assert!(gaps <= missing);
        prop_assert_eq!(report.delivered - report.recorded.unwrap(), gaps);
        for gap in &report.gaps {
            prop_assert_eq!(gap.delivered, gap.recorded + gap.missing);
            prop_assert_eq!(gap.event_ids.len(), gap.delivered);
            let within = kept.iter().filter(|it| (gap.since..=gap.until).contains(&it.time));
            prop_assert!(difference > 0 || within.count() <= gap.recorded);
        }
        // An event without any record in its span must be in a gap.
        for (event, (second, count, succeeds, ..)) in (0_u64..).zip(&sent) {
            let end = second + 60 * (i64::try_from(*count).unwrap() - 1) + 2;
            let time = record(second - difference).time..=record(end + difference).time;
            let within = |it: &Record| time.contains(&it.time);
            if *succeeds && !kept.iter().any(within) {
                prop_assert!(report.gaps.iter().any(|gap| gap.event_ids.contains(&event.into())));
            }
        }

        let [first, second] = logs(&sent);
        kept.reverse();
        prop_assert_eq!(&reconcile(&[second, first], Some(&kept), &window), &report);
    }
}
