//! Tests of SQLite only.

use std::time::{Duration, Instant};

use soundhash_webhook::idempotency::Key;
use soundhash_webhook_sqlx::{EventLog, EventLogErrorKind, Recorded};
use sqlx::{Sqlite, SqliteConnection, sqlite::SqlitePoolOptions};

use crate::fixture::{Fixture, delivery, delivery_of, log, sqlite_options};

/// Reads, lets another transaction write, and then records.
#[tokio::test]
async fn a_deferred_transaction_that_has_read_conflicts_at_once() {
    let (_place, pool, log) = log::<Sqlite>().await;
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

/// Recording first takes the write lock, and waits for it.
#[tokio::test]
async fn a_deferred_transaction_that_records_first_waits() {
    let (_place, pool, log) = log::<Sqlite>().await;
    let mut other = log.begin().await.unwrap();
    Sqlite::act(&mut other, "other").await.unwrap();
    let waiting = tokio::spawn({
        let (pool, log) = (pool.clone(), log.clone());
        async move {
            let mut deferred = pool.begin().await.unwrap();
            let recorded = log.record(&mut deferred, &delivery("a").await).await;
            deferred.commit().await.unwrap();
            recorded
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.commit().await.unwrap();
    assert!(!waiting.await.unwrap().unwrap().is_duplicate());
}

async fn assert_busy_timeout_is_unchanged(connection: &mut SqliteConnection) {
    let left: i64 = sqlx::query_scalar("PRAGMA busy_timeout")
        .fetch_one(connection)
        .await
        .unwrap();
    assert_eq!(left, 20_000);
}

#[tokio::test]
async fn the_busy_timeout_of_the_caller_is_left_as_it_was() {
    let (_place, pool, log) = log::<Sqlite>().await;
    for id in ["a", "a"] {
        let mut deferred = pool.begin().await.unwrap();
        let _ = log
            .record(&mut deferred, &delivery(id).await)
            .await
            .unwrap();
        assert_busy_timeout_is_unchanged(&mut deferred).await;
        deferred.commit().await.unwrap();
        let mut tx = log.begin().await.unwrap();
        let _ = log.record(&mut tx, &delivery(id).await).await.unwrap();
        assert_busy_timeout_is_unchanged(&mut tx).await;
    }
}

#[tokio::test]
async fn a_deferred_transaction_waits_at_most_for_the_lock_timeout() {
    let (_place, pool, log) = log::<Sqlite>().await;
    let log = log.lock_timeout(Duration::from_millis(200));
    let mut other = log.begin().await.unwrap();
    Sqlite::act(&mut other, "other").await.unwrap();
    let mut deferred = pool.begin().await.unwrap();
    let start = Instant::now();
    let late = log.record(&mut deferred, &delivery("a").await).await;
    assert_eq!(late.unwrap_err().kind(), EventLogErrorKind::LockTimeout);
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(deferred);
    other.commit().await.unwrap();
    // The lock is free again, and the event is new.
    let log = log.lock_timeout(Duration::from_secs(20));
    let mut tx = log.begin().await.unwrap();
    let recorded = log.record(&mut tx, &delivery("a").await).await.unwrap();
    assert_eq!(recorded, Recorded::New);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let (place, pool, first) = log::<Sqlite>().await;
    let small = SqlitePoolOptions::new().max_connections(1);
    let options = sqlite_options(&Sqlite::url(&place)).pragma("max_page_count", "40");
    let small = EventLog::new(small.connect_with(options).await.unwrap());

    let mut accepted = Vec::new();
    let error = loop {
        let id = accepted.len();
        let body = serde_json::json!({"id": id + 1, "type": "a", "data": "x".repeat(10_000)});
        let delivery = delivery_of(body.to_string()).await;
        let attempt = async {
            let mut tx = small.begin().await?;
            let recorded = small.record(&mut tx, &delivery).await?;
            Sqlite::act(&mut tx, &id.to_string()).await?;
            tx.commit().await?;
            Ok::<_, soundhash_webhook_sqlx::EventLogError>(recorded)
        };
        match attempt.await {
            Ok(recorded) => {
                assert!(!recorded.is_duplicate());
                accepted.push(Key::from(&delivery));
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), EventLogErrorKind::StorageFull, "{error:?}");
    assert!(accepted.len() > 3, "the disk was full too soon");
    assert_eq!(Sqlite::acted(&pool).await.len(), accepted.len());
    for key in &accepted {
        assert!(first.get(key).await.unwrap().is_some());
    }
}
