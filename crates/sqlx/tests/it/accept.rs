//! `accept`: one commit for many deliveries.

use std::{thread, time::Duration};

use serde_json::json;
use soundhash_webhook::{Delivery, idempotency::Key};
use soundhash_webhook_sqlx::{Accepted, EventLog, EventLogErrorKind, Recorded};
use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{Pool, Postgres, Sqlite};
use tokio::{
    runtime::Runtime,
    sync::oneshot,
    task::{JoinHandle, JoinSet, yield_now},
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
    a_poisoned_event_does_not_affect_others,
    jobs_are_written_for_new_events_only,
    a_dropped_request_stores_both_the_event_and_its_job_or_neither,
    an_event_waits_for_a_transaction_that_records_it,
    a_lock_that_another_transaction_keeps_is_an_error,
    a_runtime_can_end_while_events_wait,
);

const PATIENCE: Duration = Duration::from_mins(1);

/// Writes a job for each new event, which is a row in the `acted` table.
pub(crate) const JOBS: &str =
    "INSERT INTO acted SELECT event_key FROM new_events RETURNING 1 -- a comment";

async fn setup<DB: Fixture>() -> (DB::Database, Pool<DB>, EventLog<DB>) {
    let (database, pool, log) = log::<DB>().await;
    (database, pool, log.enqueue(JOBS))
}

async fn an_event_is_accepted_once<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
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
    // Text that Postgres cannot store, plus a body that is not an event.
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

/// The jobs for some events fail, and the database rejects other events. The remaining events
/// contain characters that are hard to store.
async fn a_poisoned_event_does_not_affect_others<DB: Fixture>() {
    let (_database, pool, log) = setup::<DB>().await;
    // On a busy machine, the commits of single events take long.
    let log = log.lock_timeout(PATIENCE);
    DB::run(&pool, DB::REJECT_POISON).await.expect("a trigger");
    DB::run(&pool, DB::REJECT_JOBS).await.expect("a trigger");
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
        .expect("should end in time");
    assert_eq!(DB::acted(&pool).await.len(), 42);
    let error = log.accept(&delivery("poison").await).await.unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::Other, "{error:?}");
    let source = std::error::Error::source(&error).expect("a source");
    assert!(source.to_string().contains("a poisoned event"), "{source}");
}

async fn a_dropped_request_stores_both_the_event_and_its_job_or_neither<DB: Fixture>() {
    let (database, pool, others) = setup::<DB>().await;
    let one = DB::pool(&DB::url(&database), 1).await;
    let log = EventLog::new(one.clone()).enqueue(JOBS);
    let start = |delivery: &Delivery| {
        let (log, delivery) = (log.clone(), delivery.clone());
        tokio::spawn(async move { log.accept(&delivery).await })
    };
    let abort = async |waiting: JoinHandle<_>| {
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
    };
    let (a, b, c) = (
        delivery("a").await,
        delivery("b").await,
        delivery("c").await,
    );

    // This request is dropped while it waits for a connection.
    let connection = one.acquire().await.unwrap();
    let waiting = start(&a);
    sleep(Duration::from_millis(200)).await;
    abort(waiting).await;
    drop(connection);

    // This request is dropped while its job waits for a lock. On SQLite, its whole batch waits.
    let mut tx = others.begin().await.unwrap();
    if !DB::IS_SQLITE {
        DB::run_on(&mut tx, "LOCK TABLE acted").await.unwrap();
    }
    let waiting = start(&b);
    DB::wait_for_contention(&pool).await;
    abort(waiting).await;
    tx.rollback().await.unwrap();

    // This request is dropped while it waits for another transaction.
    let mut tx = others.begin().await.unwrap();
    assert_eq!(others.record(&mut tx, &c).await.unwrap(), Recorded::New);
    let waiting = start(&c);
    DB::wait_for_contention(&pool).await;
    abort(waiting).await;
    tx.rollback().await.unwrap();

    for (delivery, expected) in [
        (&a, Some(Accepted::New)),
        (&b, (!DB::IS_SQLITE).then_some(Accepted::Duplicate)),
        (&c, (!DB::IS_SQLITE).then_some(Accepted::New)),
    ] {
        let accepted = timeout(PATIENCE, start(delivery)).await;
        let accepted = accepted.expect("should end in time").unwrap().unwrap();
        assert_eq!(accepted, expected.unwrap_or(accepted), "{delivery:?}");
    }
    assert_eq!(DB::acted(&pool).await.len(), 3);
}

/// The job statement may use all columns of `new_events`, call a function, or write no job for an
/// event.
async fn jobs_are_written_for_new_events_only<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    let columns = "INSERT INTO acted
        SELECT event_key || ' ' || event_type || ' ' || coalesce(endpoint, '-') FROM new_events
        WHERE event_key NOT LIKE '%c' RETURNING 1";
    // `enqueue` and `table` can be called in either order.
    let log = log.enqueue(columns).table("others").unwrap();
    log.migrate().await.unwrap();
    for (id, expected) in [
        ("a", Accepted::New),
        ("a", Accepted::Duplicate),
        ("b", Accepted::New),
        ("c", Accepted::New),
    ] {
        let accepted = log.accept(&delivery(id).await).await;
        assert_eq!(accepted.unwrap(), expected, "{id}");
    }
    let mut expected = Vec::new();
    for id in ["a", "b"] {
        let key = Key::from(&delivery(id).await);
        expected.push(format!("{key} video.processed -"));
        let event = log.get_by_column(key.as_str()).await.unwrap();
        assert_eq!(event.unwrap().summary.key, key);
    }
    assert_eq!(DB::acted(&pool).await, expected);
    let odd = delivery_of(r#"{"id": "\u0000\\", "type": "a", "data": {}}"#).await;
    let log = log.enqueue(JOBS);
    assert_eq!(log.accept(&odd).await.unwrap(), Accepted::New);
    let all = DB::acted(&pool).await;
    let column = all.into_iter().find(|it| it.contains('\\')).unwrap();
    let event = log.get_by_column(&column).await.unwrap().unwrap();
    assert_eq!(event.summary.key, Key::from(&odd), "{column}");
}

/// Postgres does not run a `SELECT` in a `WITH` clause if its rows are unused.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_queue_is_called_for_each_new_event() {
    let (_database, pool, log) = log::<Postgres>().await;
    let function = "CREATE FUNCTION push(text[]) RETURNS bigint LANGUAGE sql
        AS 'INSERT INTO acted SELECT unnest(coalesce($1, ARRAY[NULL])) RETURNING 1'";
    Postgres::run(&pool, function).await.unwrap();
    let log = log.enqueue("SELECT push(array_agg(event_key)) FROM new_events; ");
    let (a, b) = (delivery("a").await, delivery("b").await);
    for (delivery, expected) in [
        (&a, Accepted::New),
        (&b, Accepted::New),
        (&a, Accepted::Duplicate),
    ] {
        assert_eq!(log.accept(delivery).await.unwrap(), expected);
    }
    assert_eq!(Postgres::acted(&pool).await.len(), 2);
}

async fn a_lock_that_another_transaction_keeps_is_an_error<DB: Fixture>() {
    let (_database, pool, log) = setup::<DB>().await;
    let a = delivery("a").await;
    let mut tx = log.begin().await.unwrap();
    assert_eq!(log.record(&mut tx, &a).await.unwrap(), Recorded::New);
    let impatient = log.clone().lock_timeout(Duration::from_millis(200));
    let late = timeout(PATIENCE, impatient.accept(&a)).await;
    let error = late.expect("should end in time").unwrap_err();
    assert_eq!(error.kind(), EventLogErrorKind::LockTimeout, "{error:?}");
    tx.rollback().await.unwrap();
    let accepted = timeout(PATIENCE, log.accept(&a)).await;
    assert_eq!(
        accepted.expect("should end in time").unwrap(),
        Accepted::New
    );
    assert_eq!(DB::acted(&pool).await.len(), 1);
}

async fn an_event_waits_for_a_transaction_that_records_it<DB: Fixture>() {
    for (commit, expected) in [(true, Accepted::Duplicate), (false, Accepted::New)] {
        let (_database, pool, log) = setup::<DB>().await;
        let a = delivery("a").await;
        let mut tx = log.begin().await.unwrap();
        assert_eq!(log.record(&mut tx, &a).await.unwrap(), Recorded::New);
        let waiting = tokio::spawn({
            let (log, a) = (log.clone(), a.clone());
            async move { log.accept(&a).await.unwrap() }
        });
        if !DB::IS_SQLITE {
            // An unrelated event does not wait.
            let other = timeout(PATIENCE, async { log.accept(&delivery("b").await).await });
            assert_eq!(
                other.await.expect("should end in time").unwrap(),
                Accepted::New
            );
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
    let (database, _pool, log) = setup::<DB>().await;
    let (url, mut deliveries) = (DB::url(&database), Vec::new());
    for id in ["a", "b", "c", "d", "e"] {
        deliveries.push(delivery(id).await);
    }
    let mut tx = log.begin().await.unwrap();
    if !DB::IS_SQLITE {
        DB::run_on(&mut tx, "LOCK TABLE acted").await.unwrap();
    }
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let log = EventLog::new(DB::pool(&url, 10).await).enqueue(JOBS);
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

/// The jobs of two events conflict, each time after a second, as with `deadlock_timeout`.
#[tokio::test]
async fn a_batch_that_keeps_conflicting_is_accepted_one_by_one() {
    let (database, pool, _log) = log::<Postgres>().await;
    let one = <Postgres as Fixture>::pool(&Postgres::url(&database), 1).await;
    Postgres::run(&pool, "CREATE SEQUENCE conflicts")
        .await
        .unwrap();
    let function = "CREATE FUNCTION push(text, bigint) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            IF $2 > 1 THEN
                PERFORM nextval('conflicts'), pg_sleep(1);
                RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01';
            END IF;
            RETURN $1;
        END $$";
    Postgres::run(&pool, function).await.unwrap();
    let log = EventLog::new(one.clone()).enqueue(
        "INSERT INTO acted SELECT push(event_key, (SELECT count(*) FROM new_events))
         FROM new_events RETURNING 1",
    );
    // While the only connection is in use, all events join one batch.
    let connection = one.acquire().await.unwrap();
    let mut all = JoinSet::new();
    for number in 0..10 {
        let (log, delivery) = (log.clone(), delivery(&number.to_string()).await);
        all.spawn(async move { log.accept(&delivery).await });
    }
    yield_now().await;
    drop(connection);
    for accepted in all.join_all().await {
        assert_eq!(accepted.unwrap(), Accepted::New);
    }
    assert_eq!(Postgres::acted(&pool).await.len(), 10);
    // `last_value` is 1 both before and after the first use.
    let conflicted = sqlx::query_scalar("SELECT is_called FROM conflicts");
    let conflicted: bool = conflicted.fetch_one(&pool).await.unwrap();
    assert!(conflicted, "no two events were in one batch");
}

/// Test suites and poolers deallocate prepared statements.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_accepted_on_a_connection_without_its_prepared_statements() {
    let (database, _pool, _log) = log::<Postgres>().await;
    let pool = <Postgres as Fixture>::pool(&Postgres::url(&database), 1).await;
    let log = EventLog::new(pool.clone()).enqueue(JOBS);
    for id in ["a", "b", "c"] {
        let accepted = log.accept(&delivery(id).await).await;
        assert_eq!(accepted.unwrap(), Accepted::New, "{id}");
        Postgres::run(&pool, "DEALLOCATE ALL").await.unwrap();
    }
    assert_eq!(Postgres::acted(&pool).await.len(), 3);
}

/// Accepts events on a disk that is full every other round. `acted` may be on another disk.
async fn only_what_is_committed_is_accepted<DB: Fixture>(
    disk: &TinyDisk,
    pool: &Pool<DB>,
    log: EventLog<DB>,
) {
    let log = log.enqueue(JOBS);
    let (mut accepted, mut failed) = (Vec::new(), 0);
    for round in 0..6 {
        if round % 2 == 1 {
            disk.fill();
        }
        let mut all = JoinSet::new();
        for number in 0..30 {
            // The text is random, because Postgres would compress anything else.
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

/// Only the bodies are on the full disk.
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
