//! Behavior that is specific to SQLite.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use soundhash_webhook_sqlx::{EventLogErrorKind, Recorded};
use soundhash_webhook_tests::{
    process::{Receiver, example},
    requests,
};
use sqlx::Sqlite;

use crate::fixture::{Fixture, SECRET, delivery, log, record};

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
    let log = log.lock_timeout(Duration::from_secs(20));
    let impatient = log.clone().lock_timeout(Duration::from_millis(200));
    let mut other = log.begin().await.unwrap();
    Sqlite::act(&mut other, "other").await.unwrap();
    let mut deferred = pool.begin().await.unwrap();
    let start = Instant::now();
    let late = impatient.record(&mut deferred, &delivery("a").await).await;
    assert_eq!(late.unwrap_err().kind(), EventLogErrorKind::LockTimeout);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(deferred);
    other.commit().await.unwrap();
    // The lock has been released, and the event was not recorded.
    let recorded = record(&log, &delivery("a").await).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
}

/// If a `-wal` file is left, SQLite applies it to a backup that is restored.
#[tokio::test]
async fn the_stopped_example_leaves_only_the_database() {
    let program = example("exactly_once");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exactly_once");
    // Without closing the database, the outcome is a matter of chance.
    for number in 0..5 {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(&program);
        command
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
            .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
            .current_dir(&folder);
        let receiver = Receiver::listening(&mut command);
        let event = json!({"type": "video.processed", "id": number, "data": {"video_id": 7}});
        let body = event.to_string();
        let status = requests::deliver(&receiver.url(), SECRET, body.as_bytes()).await;
        assert_eq!(status, Some(200));
        receiver.process.signal("TERM");
        let (status, _, log) = receiver.ended();
        assert!(status.success(), "{log}");
        let files = fs::read_dir(&folder).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["events.db"]);
    }
}

#[test]
fn the_example_names_the_file_that_it_cannot_open() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exactly_once_fails");
    fs::create_dir_all(folder.join("events.db")).unwrap();
    let started = Command::new(example("exactly_once"))
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .current_dir(&folder)
        .output()
        .unwrap();
    let log = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(1), "{log}");
    assert!(
        log.contains("cannot open events.db in the current directory: "),
        "{log}"
    );
}
