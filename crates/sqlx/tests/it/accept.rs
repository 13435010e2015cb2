//! `accept`: one commit for many deliveries.

use std::{future::pending, sync::Arc, thread, time::Duration};

use serde_json::json;
use soundhash_webhook::{Delivery, idempotency::Key};
use soundhash_webhook_sqlx::{Accepted, EventLog, EventLogErrorKind, Recorded};
use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{Pool, Postgres, Sqlite};
use tokio::{
    runtime::Runtime,
    sync::{Notify, Semaphore, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    child::rand_below,
    fixture::{Fixture, delivery, delivery_of, event, log},
    on_both,
    pool::TinyDisk,
};

on_both!(
    an_event_is_accepted_once,
    a_poisoned_event_harms_no_other,
    a_job_that_panics_fails_only_its_batch,
    a_request_that_is_dropped_in_any_state_leaves_the_event_with_its_job_or_neither,
    an_event_that_is_being_recorded_waits_for_the_end,
    a_lock_that_another_transaction_keeps_is_an_error,
    a_runtime_can_end_while_events_wait,
);

const PATIENCE: Duration = Duration::from_mins(1);

/// A log whose job of an event is its row in `acted`.
fn with_jobs<DB: Fixture>(log: EventLog<DB>) -> EventLog<DB> {
    log.enqueue(|connection, deliveries| {
        Box::pin(async move {
            for delivery in deliveries {
                let key = Key::from(delivery);
                if key.as_str().contains("poison") {
                    return Err("a poisoned event".into());
                }
                if key.as_str().contains("locked") {
                    // An error of another class on Postgres, and a syntax error on SQLite.
                    let locked = "DO $$ BEGIN RAISE lock_not_available; END $$";
                    DB::run_on(connection, locked).await?;
                }
                assert!(!key.as_str().contains("panic"), "a panic of the test");
                // Postgres cannot hold U+0000.
                DB::act(connection, &key.as_str().replace('\0', "\\0")).await?;
            }
            Ok(())
        })
    })
}

async fn setup<DB: Fixture>() -> (DB::Place, Pool<DB>, EventLog<DB>) {
    let (place, pool, log) = log::<DB>().await;
    (place, pool, with_jobs(log))
}

async fn an_event_is_accepted_once<DB: Fixture>() {
    let (_place, _pool, log) = log::<DB>().await;
    let delivery = delivery("a").await;
    assert_eq!(log.accept(&delivery).await.unwrap(), Accepted::New);
    assert!(log.accept(&delivery).await.unwrap().is_duplicate());
    let mut tx = log.begin().await.unwrap();
    let recorded = log.record(&mut tx, &delivery).await.unwrap();
    assert_eq!(recorded, Recorded::Duplicate);
    drop(tx);
    let event = log.get(&Key::from(&delivery)).await.unwrap().unwrap();
    assert_eq!(event.body, delivery.body());
    assert_eq!(event.summary.event_type.as_deref(), Some("video.processed"));
    assert!(event.summary.created_at.is_some());
    // A text that Postgres cannot hold, which is not an event.
    for body in [
        r#"{"id": "\u0000\\0", "type": "a\u0000", "data": {}}"#,
        "no event",
    ] {
        let delivery = delivery_of(body).await;
        assert_eq!(log.accept(&delivery).await.unwrap(), Accepted::New);
        let event = log.get(&Key::from(&delivery)).await.unwrap().unwrap();
        assert_eq!(event.body, body);
    }
}

/// The job of some events fails, the database rejects others, and the rest is hard to store.
async fn a_poisoned_event_harms_no_other<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    DB::run(&pool, DB::REJECT_POISON).await.expect("a trigger");
    let padding = "x".repeat(100_000);
    let mut all = JoinSet::new();
    for number in 0..60 {
        let event = match number % 10 {
            1 => json!({"id": format!("{number}-locked"), "type": "a", "data": {}}),
            3 => json!({"id": format!("{number}-poison"), "type": "a", "data": {}}),
            5 => json!({"id": number, "type": "poison", "data": {}}),
            7 => json!({"id": format!("\0{number}"), "type": "a\0", "data": {}}),
            9 => json!({"id": format!("{number}{padding}"), "type": padding, "data": {}}),
            _ => event(&format!("{number:03}")),
        };
        let (log, delivery) = (log.clone(), delivery_of(event.to_string()).await);
        all.spawn(async move {
            let accepted = log.accept(&delivery).await;
            assert_eq!(
                accepted.is_err(),
                matches!(number % 10, 1 | 3 | 5),
                "{number}"
            );
            let stored = log.get(&Key::from(&delivery)).await.unwrap();
            assert_eq!(stored.is_some(), accepted.is_ok(), "{number}");
        });
    }
    timeout(PATIENCE, all.join_all())
        .await
        .expect("an end in time");
    assert_eq!(DB::acted(&pool).await.len(), 42);
    let error = log.accept(&delivery("poison").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::Other, "{error:?}");
    let source = std::error::Error::source(&error).expect("a source");
    assert_eq!(source.to_string(), "a poisoned event");
}

async fn a_job_that_panics_fails_only_its_batch<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let error = log.accept(&delivery("panic").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::Other, "{error:?}");
    let b = delivery("b").await;
    let next = timeout(PATIENCE, log.accept(&b)).await;
    assert_eq!(next.expect("an end in time").unwrap(), Accepted::New);
    assert_eq!(DB::acted(&pool).await.len(), 1);
}

async fn a_request_that_is_dropped_in_any_state_leaves_the_event_with_its_job_or_neither<
    DB: Fixture,
>() {
    let (place, pool, others) = setup::<DB>().await;
    let one = DB::pool(&DB::url(&place), 1).await;
    let (gate, at_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let log = EventLog::new(one.clone()).enqueue({
        let (gate, at_gate) = (Arc::clone(&gate), Arc::clone(&at_gate));
        move |connection, deliveries| {
            let (gate, at_gate) = (Arc::clone(&gate), Arc::clone(&at_gate));
            Box::pin(async move {
                at_gate.notify_one();
                gate.acquire().await?.forget();
                for delivery in deliveries {
                    DB::act(connection, Key::from(delivery).as_str()).await?;
                }
                Ok(())
            })
        }
    });
    let start = |delivery: &Delivery| {
        let (log, delivery) = (log.clone(), delivery.clone());
        tokio::spawn(async move { log.accept(&delivery).await })
    };
    let (a, b, c) = (
        delivery("a").await,
        delivery("b").await,
        delivery("c").await,
    );

    // It waits for a connection.
    let connection = one.acquire().await.unwrap();
    let waiting = start(&a);
    sleep(Duration::from_millis(100)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    drop(connection);

    // It is in the transaction.
    let waiting = start(&b);
    timeout(PATIENCE, at_gate.notified())
        .await
        .expect("an event whose job is written");
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    gate.add_permits(1);

    // It waits for another transaction.
    let mut tx = others.begin().await.unwrap();
    assert_eq!(others.record(&mut tx, &c).await.unwrap(), Recorded::New);
    let waiting = start(&c);
    sleep(Duration::from_millis(200)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    tx.rollback().await.unwrap();

    gate.add_permits(10);
    for (delivery, expected) in [
        (&a, Some(Accepted::New)),
        (&b, Some(Accepted::Duplicate)),
        // On SQLite, its batch waits, too.
        (&c, (!DB::IS_SQLITE).then_some(Accepted::New)),
    ] {
        let accepted = timeout(PATIENCE, start(delivery)).await;
        let accepted = accepted.expect("an end in time").unwrap().unwrap();
        assert_eq!(accepted, expected.unwrap_or(accepted), "{delivery:?}");
    }
    assert_eq!(DB::acted(&pool).await.len(), 3);
}

async fn a_lock_that_another_transaction_keeps_is_an_error<DB: Fixture>() {
    let (_place, pool, log) = setup::<DB>().await;
    let a = delivery("a").await;
    let mut tx = log.begin().await.unwrap();
    assert_eq!(log.record(&mut tx, &a).await.unwrap(), Recorded::New);
    let impatient = log.clone().lock_timeout(Duration::from_millis(200));
    let late = timeout(PATIENCE, impatient.accept(&a)).await;
    let error = late.expect("an end in time").unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::LockTimeout, "{error:?}");
    tx.rollback().await.unwrap();
    let accepted = timeout(PATIENCE, log.accept(&a)).await;
    assert_eq!(accepted.expect("an end in time").unwrap(), Accepted::New);
    assert_eq!(DB::acted(&pool).await.len(), 1);
}

async fn an_event_that_is_being_recorded_waits_for_the_end<DB: Fixture>() {
    for (commit, expected) in [(true, Accepted::Duplicate), (false, Accepted::New)] {
        let (_place, pool, log) = setup::<DB>().await;
        let a = delivery("a").await;
        let mut tx = log.begin().await.unwrap();
        assert_eq!(log.record(&mut tx, &a).await.unwrap(), Recorded::New);
        let waiting = tokio::spawn({
            let (log, a) = (log.clone(), a.clone());
            async move { log.accept(&a).await.unwrap() }
        });
        if !DB::IS_SQLITE {
            // Another event does not wait.
            let other = timeout(PATIENCE, async { log.accept(&delivery("b").await).await });
            assert_eq!(other.await.expect("an end in time").unwrap(), Accepted::New);
        }
        sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        if commit {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), expected);
        assert_eq!(
            DB::acted(&pool)
                .await
                .iter()
                .filter(|key| key.ends_with('a'))
                .count(),
            usize::from(!commit)
        );
    }
}

async fn a_runtime_can_end_while_events_wait<DB: Fixture>() {
    let (place, _pool, _log) = log::<DB>().await;
    let (url, mut deliveries) = (DB::url(&place), Vec::new());
    for id in ["a", "b", "c", "d", "e"] {
        deliveries.push(delivery(id).await);
    }
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let log = EventLog::new(DB::pool(&url, 10).await);
            let log = log.enqueue(|_, _| Box::pin(pending()));
            for delivery in deliveries {
                let log = log.clone();
                tokio::spawn(async move { log.accept(&delivery).await });
                sleep(Duration::from_millis(50)).await;
            }
        });
        drop(runtime);
        let _ = end.send(());
    });
    let ended = timeout(PATIENCE, ended).await;
    ended.expect("the runtime ends").expect("no panic");
}

/// Postgres turns the commit of a failed transaction into a rollback, and sqlx returns `Ok`.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ignores_the_error_of_a_statement_is_an_error() {
    let (_place, _pool, log) = log::<Postgres>().await;
    for sql in ["SELECT 1 / 0", "ROLLBACK"] {
        let log = log.clone().enqueue(move |connection, _| {
            Box::pin(async move {
                let _ = sqlx::raw_sql(sql).execute(connection).await;
                Ok(())
            })
        });
        let a = delivery("a").await;
        assert!(log.accept(&a).await.is_err(), "{sql}");
        assert!(log.get(&Key::from(&a)).await.unwrap().is_none(), "{sql}");
    }
}

/// Test suites and poolers deallocate the prepared statements of a connection.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_accepted_on_a_connection_without_its_prepared_statements() {
    let (place, _pool, _log) = log::<Postgres>().await;
    let pool = <Postgres as Fixture>::pool(&Postgres::url(&place), 1).await;
    let log = with_jobs(EventLog::new(pool.clone()));
    for id in ["a", "b", "c"] {
        let accepted = log.accept(&delivery(id).await).await;
        assert_eq!(accepted.unwrap(), Accepted::New, "{id}");
        Postgres::run(&pool, "DEALLOCATE ALL").await.unwrap();
    }
    assert_eq!(Postgres::acted(&pool).await.len(), 3);
}

/// Accepts events on a disk that is full in every second round. `acted` may be on another disk.
async fn only_what_is_committed_is_accepted<DB: Fixture>(
    disk: &TinyDisk,
    pool: &Pool<DB>,
    log: EventLog<DB>,
) {
    let log = with_jobs(log);
    let (mut accepted, mut failed) = (Vec::new(), 0);
    for round in 0..6 {
        if round % 2 == 1 {
            disk.fill();
        }
        let mut all = JoinSet::new();
        for number in 0..30 {
            // Postgres would compress other text.
            let noise: String = (0..3_000 * (number % 3))
                .map(|_| char::from_digit(u32::try_from(rand_below(36)).unwrap(), 36).unwrap())
                .collect();
            let id = format!("{round}-{number:02}");
            let body = json!({"id": id, "type": "a", "data": noise}).to_string();
            let (log, delivery) = (log.clone(), delivery_of(body).await);
            all.spawn(async move {
                let accepted = log.accept(&delivery).await;
                (Key::from(&delivery).to_string(), accepted)
            });
        }
        for (key, result) in all.join_all().await {
            if let Err(error) = &result {
                assert!(
                    round % 2 == 1,
                    "{key} failed on a disk with space: {error:?}"
                );
                failed += 1;
            }
            accepted.extend(result.is_ok().then_some(key));
        }
        disk.free();
    }
    assert!(failed > 0, "the disk was not full");
    accepted.sort();
    assert_eq!(DB::acted(pool).await, accepted);
    for key in &accepted {
        assert!(log.get(&Key::new(key)).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_only_what_is_committed_is_accepted_on_sqlite() {
    if let Some(disk) = TinyDisk::mount() {
        let (_, log) = disk.log().await;
        let url = format!("sqlite://{}/events.db", disk.folder.display());
        only_what_is_committed_is_accepted(&disk, &Sqlite::pool(&url, 1).await, log).await;
    }
}

/// The bodies are on the full disk, and the rest of the database is not.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_only_what_is_committed_is_accepted_on_postgres() {
    let Some(disk) = TinyDisk::mount() else {
        return;
    };
    let server = PostgresServer::start();
    let folder = disk.folder.join("postgres");
    PostgresServer::create_folder(&folder);
    let pool = Postgres::pool(&server.url(), 10).await;
    Postgres::prepare(&pool).await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.expect("a table");
    for sql in [
        format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()),
        "ALTER TABLE soundhash_events SET TABLESPACE small".to_owned(),
    ] {
        let run = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await;
        run.expect("a table on the small disk");
    }
    only_what_is_committed_is_accepted(&disk, &pool, log).await;
}
