//! Behavior that is specific to SQLite.

use std::time::{Duration, Instant};

use soundhash_webhook_sqlx::{EventLogErrorKind, Recorded};
use sqlx::Sqlite;

use crate::fixture::{Fixture, delivery, log, record};

/// The deferred transaction reads before another one writes, and records an event afterward.
#[tokio::test]
async fn a_deferred_transaction_that_has_read_conflicts_at_once() {
    let (_database, pool, log) = log::<Sqlite>().await;
    let mut deferred = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM acted")
        .fetch_one(&mut *deferred)
        .await
        .unwrap();
    let mut other = log.begin().await.unwrap();
    Sqlite::act(&mut other, "other").await.unwrap();
    other.commit().await.unwrap();

    let error = log
        .record(&mut deferred, &delivery("a").await)
        .await
        .expect_err("a conflict");
    assert_eq!(error.kind(), EventLogErrorKind::Conflict, "{error:?}");
}

#[tokio::test]
async fn a_deferred_transaction_that_records_first_waits_for_the_lock_timeout() {
    let (_database, pool, log) = log::<Sqlite>().await;
    let log = log.lock_timeout(Duration::from_millis(200));
    let mut other = log.begin().await.unwrap();
    Sqlite::act(&mut other, "other").await.unwrap();
    let mut deferred = pool.begin().await.unwrap();
    let start = Instant::now();
    let late = log.record(&mut deferred, &delivery("a").await).await;
    assert_eq!(late.unwrap_err().kind(), EventLogErrorKind::LockTimeout);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(deferred);
    other.commit().await.unwrap();
    // The lock has been released, and the event was not recorded.
    let log = log.lock_timeout(Duration::from_secs(20));
    let recorded = record(&log, &delivery("a").await).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
}
