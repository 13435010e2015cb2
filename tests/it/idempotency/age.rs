//! `max_age`: what is too old to be remembered is too old to be accepted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use soundhash_webhook::idempotency::{AnswerKind, IdempotencyLayer, MemoryStore};
use tower::ServiceExt;

use super::support::{DUPLICATE, Outcome, RUN, Runs, app, event, layer, send};
use crate::support::{signed, text, with_signature};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// 2026-11-23T09:00:00Z in Unix time.
const NINE: u64 = 1_795_424_400;

pub(super) fn at(id: &str, time: &str) -> Request<Body> {
    signed(format!(
        r#"{{"type":"a","data":{{}},"id":"{id}","created_at":"{time}"}}"#
    ))
}

/// An application whose clock shows so many seconds after nine.
pub(super) fn at_nine(layer: IdempotencyLayer<MemoryStore>) -> (Router, Arc<AtomicU64>, Runs) {
    let (seconds, runs) = (Arc::new(AtomicU64::new(0)), Runs::default());
    let clock = seconds.clone();
    let layer =
        layer.clock(move || UNIX_EPOCH + Duration::from_secs(NINE + clock.load(Ordering::SeqCst)));
    (app(layer, runs.handler()), seconds, runs)
}

const fn refused(kind: AnswerKind) -> Outcome {
    (401, Some(kind))
}

#[tokio::test]
async fn too_old_undated_and_future_events_are_refused() {
    let (app, _, runs) = at_nine(layer().max_age(15 * MINUTE).clock_skew(MINUTE));
    for (id, time, expected) in [
        ("1", "2026-11-23T08:44:59Z", refused(AnswerKind::TooOld)),
        (
            "2",
            "2026-11-23T08:44:59.999999+00:00Z",
            refused(AnswerKind::TooOld),
        ),
        ("3", "2026-11-23T08:45:00Z", refused(AnswerKind::TooOld)),
        ("3", "2026-11-23T08:45:01Z", RUN),
        ("4", "2026-11-23T09:00:00Z", RUN),
        ("5", "2026-11-23T09:01:00Z", RUN),
        (
            "6",
            "2026-11-23T09:01:01Z",
            refused(AnswerKind::FromTheFuture),
        ),
        ("7", "1926-01-01T00:00:00Z", refused(AnswerKind::TooOld)),
        (
            "8",
            "9999-01-01T00:00:00Z",
            refused(AnswerKind::FromTheFuture),
        ),
        ("9", "yesterday", refused(AnswerKind::Undated)),
    ] {
        assert_eq!(send(&app, at(id, time)).await, expected, "{time}");
    }
    assert_eq!(send(&app, event("x")).await, refused(AnswerKind::Undated));
    assert_eq!(
        send(&app, signed("no JSON")).await,
        refused(AnswerKind::Undated)
    );
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn without_max_age_any_time_will_do() {
    let (app, _, _) = at_nine(layer());
    for (id, time) in [
        ("1", "1970-01-01T00:00:00Z"),
        ("2", "9999-01-01T00:00:00Z"),
        ("3", ""),
    ] {
        assert_eq!(send(&app, at(id, time)).await, RUN);
    }
    assert_eq!(send(&app, event("x")).await, RUN);
}

/// As short a retention as the age limit allows.
fn shortest_retention() -> IdempotencyLayer<MemoryStore> {
    layer()
        .max_age(15 * MINUTE)
        .clock_skew(MINUTE)
        .retention(16 * MINUTE)
}

/// Attack: record a delivery and send it again, at any later time. It is remembered for as
/// long as it is young enough, also where its time was ahead of ours.
#[tokio::test(start_paused = true)]
async fn a_recorded_delivery_is_remembered_or_too_old() {
    let (app, seconds, runs) = at_nine(shortest_retention());
    let recorded = || at("a", "2026-11-23T09:01:00Z");
    assert_eq!(send(&app, recorded()).await, RUN);
    for _ in 0..40 {
        // At 16 minutes exactly, it is too old, and still remembered.
        let is_old = seconds.load(Ordering::SeqCst) >= 16 * 60;
        let expected = if is_old {
            refused(AnswerKind::TooOld)
        } else {
            DUPLICATE
        };
        assert_eq!(send(&app, recorded()).await, expected);
        let step = Duration::from_secs(30);
        seconds.fetch_add(step.as_secs(), Ordering::SeqCst);
        tokio::time::advance(step).await;
    }
    assert_eq!(runs.count(), 1);
}

/// Attack: the same in a fleet, at the process whose clock is slow: it takes for young what
/// the others have had time to forget.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_slow_by_the_skew_opens_no_gap() {
    let (app, seconds, runs) = at_nine(shortest_retention());
    // Sent by a clock that is a minute ahead, received by one that is right.
    let recorded = || at("a", "2026-11-23T09:01:00Z");
    assert_eq!(send(&app, recorded()).await, RUN);
    // 16 minutes and 59 seconds later, at one that is a minute behind.
    tokio::time::advance(16 * MINUTE + Duration::from_secs(59)).await;
    seconds.fetch_add(16 * 60 - 1, Ordering::SeqCst);
    assert_eq!(send(&app, recorded()).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
}

/// Attack: an oracle. The answer to a replay must not tell that its signature is right.
#[tokio::test]
async fn the_401_is_that_of_a_wrong_signature() {
    let (app, _, _) = at_nine(layer().max_age(15 * MINUTE));
    let forged = with_signature("0".repeat(64), Body::from("{}"));
    let mut answers = Vec::new();
    for request in [forged, event("undated"), at("old", "2020-01-01T00:00:00Z")] {
        let Ok(response) = app.clone().oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        answers.push((response.headers().clone(), text(response).await));
    }
    assert_eq!(answers[0].1, "Invalid signature");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
}

// ---- retention is never shorter than what can be replayed

#[test]
#[should_panic(
    expected = "retention of 600s is shorter than max_age and clock_skew together: 960s"
)]
fn retention_below_max_age_panics_if_max_age_is_last() {
    let _ = layer().retention(10 * MINUTE).max_age(15 * MINUTE);
}

#[test]
#[should_panic(
    expected = "retention of 900s is shorter than max_age and clock_skew together: 960s"
)]
fn retention_below_max_age_panics_if_retention_is_last() {
    let _ = layer().max_age(15 * MINUTE).retention(15 * MINUTE);
}

#[test]
#[should_panic(
    expected = "retention of 960s is shorter than max_age and clock_skew together: 961s"
)]
fn retention_below_max_age_panics_if_clock_skew_is_last() {
    let layer = layer().max_age(15 * MINUTE).retention(16 * MINUTE);
    let _ = layer.clock_skew(Duration::from_secs(61));
}

#[test]
fn without_a_retention_of_its_own_it_is_long_enough() {
    let day = 24 * 60 * MINUTE;
    let shown = format!("{:?}", layer().max_age(day));
    assert!(shown.contains("retention: 86460s"), "{shown}");
    let _ = layer().max_age(2 * day).retention(3 * day);
    let _ = layer().max_age(Duration::MAX);
    // Off, so that there is nothing to be too short for.
    let _ = layer().retention(Duration::from_secs(1));
}

#[tokio::test]
async fn the_default_clock_is_the_systems() {
    let runs = Runs::default();
    let app = app(layer().max_age(15 * MINUTE), runs.handler());
    assert_eq!(send(&app, at("a", "2026-01-01T00:00:00Z")).await.0, 401);
}
