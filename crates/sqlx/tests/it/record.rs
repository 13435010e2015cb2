//! `record` in one transaction, and in concurrent transactions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use soundhash_webhook::idempotency::{Outcome, OutcomeKind};
use soundhash_webhook_sqlx::{EventLogErrorKind, Recorded};
use soundhash_webhook_tests::log::Log;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::Level;

use crate::{
    fixture::{Fixture, delivery, log, open, record},
    on_both,
};

on_both!(
    an_event_is_recorded_once,
    a_concurrent_duplicate_waits_for_the_first_transaction,
    waiting_longer_than_the_lock_timeout_is_an_error,
    many_waiting_duplicates_are_bounded_by_one_lock_timeout,
    a_duplicate_is_logged_and_counted,
);

async fn an_event_is_recorded_once<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    for expected in [Recorded::New, Recorded::Duplicate, Recorded::Duplicate] {
        let mut tx = log.begin().await.unwrap();
        let recorded = log.record(&mut tx, &delivery("a").await).await.unwrap();
        assert_eq!(recorded, expected);
        if !recorded.is_duplicate() {
            DB::act(&mut tx, "a").await.unwrap();
        }
        // The same event is also a duplicate within the same transaction.
        let again = log.record(&mut tx, &delivery("a").await).await.unwrap();
        assert_eq!(again, Recorded::Duplicate);
        tx.commit().await.unwrap();
    }
    assert_eq!(DB::acted(&pool).await, ["a"]);
}

async fn a_concurrent_duplicate_waits_for_the_first_transaction<DB: Fixture>() {
    for (commit, expected) in [(true, Recorded::Duplicate), (false, Recorded::New)] {
        let (_database, _pool, log) = log::<DB>().await;
        let delivery = delivery("a").await;
        let mut first = log.begin().await.unwrap();
        let _ = log.record(&mut first, &delivery).await.unwrap();
        let waiting = tokio::spawn({
            let (log, delivery) = (log.clone(), delivery.clone());
            async move { record(&log, &delivery).await.unwrap() }
        });
        sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "it does not wait");
        match commit {
            true => first.commit().await.unwrap(),
            false => first.rollback().await.unwrap(),
        }
        assert_eq!(waiting.await.unwrap(), expected);
    }
}

async fn waiting_longer_than_the_lock_timeout_is_an_error<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    let impatient = log.clone().lock_timeout(Duration::from_millis(200));
    let delivery = delivery("a").await;
    let mut first = log.begin().await.unwrap();
    assert_eq!(
        log.record(&mut first, &delivery).await.unwrap(),
        Recorded::New
    );

    let start = Instant::now();
    let late = timeout(Duration::from_secs(15), record(&impatient, &delivery)).await;
    let error = late.expect("should end in time").expect_err("a timeout");
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(error.kind(), EventLogErrorKind::LockTimeout, "{error:?}");
    let response = error.into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    let outcome = response.extensions().get().map(Outcome::kind);
    assert_eq!(outcome, Some(OutcomeKind::StoreUnavailable));

    // The first transaction is not affected.
    DB::act(&mut first, "a").await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(DB::acted(&pool).await, ["a"]);
}

/// If events waited on the unique index, their timeout would restart each time an earlier
/// transaction rolled back.
async fn many_waiting_duplicates_are_bounded_by_one_lock_timeout<DB: Fixture>() {
    const TRANSACTIONS: u32 = 8;
    let (_database, pool, log) = log::<DB>().await;
    let log = log.lock_timeout(Duration::from_millis(1500));
    let delivery = delivery("a").await;
    // The transactions must begin at the same time.
    open(&pool, TRANSACTIONS).await;
    let barrier = Arc::new(Barrier::new(TRANSACTIONS as usize));
    let mut waiting = JoinSet::new();
    for _ in 0..TRANSACTIONS {
        let (log, delivery, barrier) = (log.clone(), delivery.clone(), barrier.clone());
        waiting.spawn(async move {
            barrier.wait().await;
            let start = Instant::now();
            let attempt = async {
                let mut tx = log.begin().await?;
                let recorded = log.record(&mut tx, &delivery).await?;
                let waited = start.elapsed();
                sleep(Duration::from_millis(400)).await;
                tx.rollback().await?;
                Ok::<_, soundhash_webhook_sqlx::EventLogError>((recorded, waited))
            };
            match attempt.await {
                Ok((Recorded::New, waited)) => (true, waited),
                Ok((Recorded::Duplicate, _)) => panic!("no transaction has committed"),
                Err(error) => {
                    assert_eq!(error.kind(), EventLogErrorKind::LockTimeout, "{error:?}");
                    (false, start.elapsed())
                }
            }
        });
    }
    let all = waiting.join_all().await;
    let timed_out = all.iter().filter(|(is_new, _)| !is_new);
    // At most four transactions can have held the lock before the timeout.
    assert!(timed_out.clone().count() >= 3, "{all:?}");
    for (_, waited) in timed_out {
        assert!(*waited < Duration::from_secs(6), "{all:?}");
    }
}

/// The log line and the metric are the same as with `IdempotencyLayer`.
async fn a_duplicate_is_logged_and_counted<DB: Fixture>() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_database, _pool, event_log) = log::<DB>().await;
    // The counter must exist from the start, because an alert on its increase misses the event that
    // creates it.
    assert_eq!(recorder.snapshotter().snapshot().into_vec().len(), 1);
    let log = Log::up_to(Level::INFO);
    let delivery = delivery("a").await;
    for _ in 0..2 {
        let _ = record(&event_log, &delivery).await.unwrap();
    }
    assert!(event_log.accept(&delivery).await.unwrap().is_duplicate());
    let lines = log.take();
    // On a busy machine, sqlx also logs slow statements.
    let duplicates = lines
        .lines()
        .filter(|line| line.contains("already recorded"));
    assert_eq!(duplicates.clone().count(), 2, "{lines}");
    for line in duplicates {
        assert!(line.starts_with(" INFO "), "{line}");
        assert!(line.ends_with(r#" key="ta" reason="duplicate""#), "{line}");
    }
    // If another package enables the main crate's `metrics`, its layer also counts the delivery.
    let mut counted = recorder.snapshotter().snapshot().into_vec();
    counted.retain(|(key, ..)| key.key().name() == "soundhash_webhook_handlers_skipped_total");
    let [(key, _, _, count)] = &counted[..] else {
        panic!("{counted:?}");
    };
    assert_eq!(key.key().labels().next().unwrap().value(), "duplicate");
    assert_eq!(*count, DebugValue::Counter(2));
}
