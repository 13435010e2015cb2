//! The layer's settings, and how `max_age` affects `retention`.

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
use soundhash_webhook::idempotency::{
    IdempotencyLayer, MemoryStore,
    OutcomeKind::{self, FromTheFuture, TooOld, Undated},
};
use tower::ServiceExt;

use super::support::{DUPLICATE, RUN, Runs, StatusAndKind, app, event, layer, send};
use crate::support::{signed, text, with_signature};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// 2026-11-23T09:00:00Z in Unix time.
const NINE: u64 = 1_795_424_400;

pub(crate) fn at(id: &str, time: &str) -> Request<Body> {
    signed(format!(
        r#"{{"type":"a","data":{{}},"id":"{id}","created_at":"{time}"}}"#
    ))
}

/// Returns an application, the number of seconds past nine that its clock shows, and its run
/// counter.
pub(crate) fn at_nine(layer: IdempotencyLayer<MemoryStore>) -> (Router, Arc<AtomicU64>, Runs) {
    let (seconds, runs) = (Arc::new(AtomicU64::new(0)), Runs::default());
    let clock = seconds.clone();
    let layer =
        layer.clock(move || UNIX_EPOCH + Duration::from_secs(NINE + clock.load(Ordering::SeqCst)));
    (app(layer, runs.handler()), seconds, runs)
}

const fn rejected(kind: OutcomeKind) -> StatusAndKind {
    (401, Some(kind))
}

#[tokio::test]
async fn too_old_undated_and_future_events_are_rejected() {
    let (app, _, runs) = at_nine(layer().max_age(15 * MINUTE).clock_skew(MINUTE));
    for (id, time, expected) in [
        ("1", "2026-11-23T08:44:59Z", rejected(TooOld)),
        ("2", "2026-11-23T08:44:59.999999+00:00Z", rejected(TooOld)),
        ("3", "2026-11-23T08:45:00Z", rejected(TooOld)),
        ("3", "2026-11-23T08:45:01Z", RUN),
        ("4", "2026-11-23T09:00:00Z", RUN),
        ("5", "2026-11-23T09:01:00Z", RUN),
        ("6", "2026-11-23T09:01:01Z", rejected(FromTheFuture)),
        ("7", "1926-01-01T00:00:00Z", rejected(TooOld)),
        ("8", "9999-01-01T00:00:00Z", rejected(FromTheFuture)),
        ("9", "yesterday", rejected(Undated)),
    ] {
        assert_eq!(send(&app, at(id, time)).await, expected, "{time}");
    }
    assert_eq!(send(&app, event("x")).await, rejected(Undated));
    assert_eq!(send(&app, signed("no JSON")).await, rejected(Undated));
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn without_max_age_any_time_is_accepted() {
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

/// Returns a layer with the shortest retention that its age limit allows.
fn shortest_retention() -> IdempotencyLayer<MemoryStore> {
    layer()
        .max_age(15 * MINUTE)
        .clock_skew(MINUTE)
        .retention(Duration::ZERO)
}

/// Attack: record a delivery and resend it at any later time. The event is remembered until it is
/// too old, even if its timestamp was ahead of this host's clock.
#[tokio::test(start_paused = true)]
async fn a_recorded_delivery_is_remembered_or_too_old() {
    let (app, seconds, runs) = at_nine(shortest_retention());
    let recorded = || at("a", "2026-11-23T09:01:00Z");
    assert_eq!(send(&app, recorded()).await, RUN);
    for _ in 0..40 {
        // At exactly 16 minutes, the event is both too old and still remembered.
        let is_old = seconds.load(Ordering::SeqCst) >= 16 * 60;
        let expected = if is_old { rejected(TooOld) } else { DUPLICATE };
        assert_eq!(send(&app, recorded()).await, expected);
        let step = Duration::from_secs(30);
        seconds.fetch_add(step.as_secs(), Ordering::SeqCst);
        tokio::time::advance(step).await;
    }
    assert_eq!(runs.count(), 1);
}

/// Attack: replay a recorded delivery to another receiver in the fleet whose clock is behind, so
/// that the event is not too old there yet.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_slow_by_the_skew_opens_no_gap() {
    let (app, seconds, runs) = at_nine(shortest_retention());
    // The sender's clock is a minute ahead, and the first receiver's clock is correct.
    let recorded = || at("a", "2026-11-23T09:01:00Z");
    assert_eq!(send(&app, recorded()).await, RUN);
    // The replay arrives 16 minutes and 59 seconds later, at a receiver whose clock is a minute
    // behind.
    tokio::time::advance(16 * MINUTE + Duration::from_secs(59)).await;
    seconds.fetch_add(16 * 60 - 1, Ordering::SeqCst);
    assert_eq!(send(&app, recorded()).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
}

/// Attack: use the layer as a signature oracle. The response to a replay must not reveal that the
/// signature is correct.
#[tokio::test]
async fn the_401_is_that_of_a_wrong_signature() {
    let (app, _, _) = at_nine(layer().max_age(15 * MINUTE));
    let forged = with_signature("0".repeat(64), Body::from("{}"));
    let mut responses = Vec::new();
    for request in [forged, event("undated"), at("old", "2020-01-01T00:00:00Z")] {
        let Ok(response) = app.clone().oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        responses.push((response.headers().clone(), text(response).await));
    }
    assert_eq!(responses[0].1, "Invalid signature");
    assert_eq!(responses[0], responses[1]);
    assert_eq!(responses[1], responses[2]);
}

// ---- builders

#[test]
fn a_retention_is_raised_to_max_age_and_clock_skew_in_any_order_of_the_setters() {
    type Set = fn(IdempotencyLayer<MemoryStore>) -> IdempotencyLayer<MemoryStore>;
    let setters: [Set; 3] = [
        |layer| layer.retention(10 * MINUTE),
        |layer| layer.max_age(15 * MINUTE),
        |layer| layer.clock_skew(2 * MINUTE),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let layer = order
            .into_iter()
            .fold(layer(), |layer, i| setters[i](layer));
        let shown = format!("{layer:?}");
        assert!(shown.contains("retention: 1020s"), "{order:?}: {shown}");
    }
}

#[test]
fn the_last_retention_counts_and_any_duration_is_accepted() {
    let twice = layer().retention(10 * MINUTE).max_age(15 * MINUTE);
    for (layer, seconds) in [
        (twice.retention(60 * MINUTE), 3600),
        (layer().max_age(24 * 60 * MINUTE), 86460),
        (layer().retention(Duration::from_secs(1)), 1),
    ] {
        let shown = format!("{layer:?}");
        assert!(shown.contains(&format!("retention: {seconds}s")), "{shown}");
    }
    let _ = layer().max_age(Duration::MAX).clock_skew(Duration::MAX);
}
