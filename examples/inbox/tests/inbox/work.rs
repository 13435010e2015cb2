//! Runs workers in the test process, to test what they receive and how they handle failures.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use soundhash_webhook::idempotency::Key;
use soundhash_webhook_inbox_example::{inbox::Inbox, work};
use soundhash_webhook_sqlx::EventLog;
use soundhash_webhook_tests::{
    postgres_server::PostgresServer,
    process::{Process, Receiver, signal},
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::{
    SECRET, acted, acted_in_time, command, deliver, event, output, start, start_worker,
};

/// The bodies include one that only Python considers JSON, and a character that Postgres cannot
/// store.
#[tokio::test]
async fn a_body_arrives_at_the_worker_byte_for_byte() {
    let bodies: [&[u8]; 4] = [
        br#"{"id":"nan","type":"match.found","data":{"confidence":NaN,"segment_end":-Infinity}}"#,
        br#"{"id":"half","type":"video.processed","data":{"title":"\ud83c"}}"#,
        b"{\"id\":\"zero\",  \"type\":\"a\\u0000b\",\"data\":\"\\u0000\",\"unknown\":[1e999]}\n",
        b"not an event at all",
    ];
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    for body in bodies {
        assert_eq!(deliver(&receiver, SECRET, body).await, 202);
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let see = Arc::clone(&seen);
    let work = move |event: &soundhash_webhook_sqlx::RecordedEvent| {
        see.lock().unwrap().push(event.body.clone());
        Ok(())
    };
    tokio::spawn(work::run(inbox, work, CancellationToken::new()));
    acted_in_time(&postgres.url(), bodies.len()).await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let mut bodies = bodies.to_vec();
    bodies.sort_unstable();
    assert_eq!(seen, bodies);
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_then_given_up_and_can_be_run_again() {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    assert_eq!(deliver(&receiver, SECRET, &event("a")).await, 202);
    // The number of attempts is reduced, so that the test does not take days.
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let shorten = "UPDATE graphile_worker._private_jobs SET max_attempts = 2";
    sqlx::query(shorten).execute(&pool).await.unwrap();

    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let work = move |_: &soundhash_webhook_sqlx::RecordedEvent| match switch.load(Ordering::Relaxed)
    {
        true => Ok(()),
        false => Err("no".into()),
    };
    tokio::spawn(work::run(inbox.clone(), work, CancellationToken::new()));
    let given_up = loop {
        let given_up = inbox.given_up().await.unwrap();
        if !given_up.is_empty() {
            break given_up;
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert!(given_up[0].key.ends_with('a'));
    assert_eq!(given_up[0].attempts, 2);
    assert!(
        given_up[0].last_error.as_ref().unwrap().contains("no"),
        "{given_up:?}"
    );
    let listed = output("given-up", &postgres.url());
    assert!(listed.contains(&given_up[0].key), "{listed}");
    assert_eq!(acted(&postgres.url()).await.len(), 0);

    works.store(true, Ordering::Relaxed);
    assert_eq!(output("run-again", &postgres.url()), "1\n");
    acted_in_time(&postgres.url(), 1).await;
    assert_eq!(inbox.given_up().await.unwrap().len(), 0);
}

/// The database's clock was ahead when the job was put off, and is right again.
#[tokio::test]
async fn a_job_that_waits_for_a_wrong_time_is_listed_and_can_be_run_again() {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    assert_eq!(deliver(&receiver, SECRET, &event("a")).await, 202);
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    for wrong in [
        "run_at = now() + interval '1 year'",
        "locked_at = now() + interval '1 day', locked_by = 'a worker that was killed'",
    ] {
        let put_off = format!("UPDATE graphile_worker._private_jobs SET {wrong}");
        sqlx::query(sqlx::AssertSqlSafe(put_off))
            .execute(&pool)
            .await
            .unwrap();
        assert!(output("given-up", &postgres.url()).ends_with("a\" 0 \"\"\n"));
        assert_eq!(output("run-again", &postgres.url()), "1\n");
        assert_eq!(output("given-up", &postgres.url()), "");
    }
    let _worker = start_worker(&postgres.url());
    acted_in_time(&postgres.url(), 1).await;
}

/// An operator may make a database read-only for a while, and its sessions stay so.
#[tokio::test]
async fn a_worker_recovers_from_sessions_that_were_read_only() {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    let mut worker = start_worker(&postgres.url());
    assert_eq!(deliver(&receiver, SECRET, &event("before")).await, 202);
    acted_in_time(&postgres.url(), 1).await;
    let mut operator = PgConnection::connect(&postgres.url()).await.unwrap();
    let end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE usename = current_user AND pid <> pg_backend_pid()";
    for statement in [
        "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on",
        end_others,
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut operator)
            .await
            .unwrap();
    }
    worker.wait_for_log("read-only transaction");
    // By then, all connections that the worker uses have been replaced.
    sleep(Duration::from_secs(6)).await;
    let reset = "ALTER ROLE CURRENT_USER RESET default_transaction_read_only";
    sqlx::raw_sql(reset).execute(&mut operator).await.unwrap();
    while deliver(&receiver, SECRET, &event("after")).await != 202 {}
    acted_in_time(&postgres.url(), 2).await;
}

#[tokio::test]
async fn a_forgotten_event_is_handled_again() {
    let postgres = PostgresServer::start();
    let both = start("", &postgres.url());
    for (status, rows) in [(202, 1), (200, 1), (202, 2), (200, 2)] {
        if (status, rows) == (202, 2) {
            let log = EventLog::new(PgPool::connect(&postgres.url()).await.unwrap());
            assert!(log.forget(&Key::new("ta")).await.unwrap());
        }
        assert_eq!(deliver(&both, SECRET, &event("a")).await, status);
        assert_eq!(acted_in_time(&postgres.url(), rows).await.len(), rows);
    }
    // A job left over from before the event was run again does nothing.
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let old = "INSERT INTO graphile_worker._private_jobs (id, task_id, payload)
         OVERRIDING SYSTEM VALUE
         SELECT 0, soundhash_event_task(), json_build_object('key', event_key)
         FROM acted_events LIMIT 1";
    sqlx::query(old).execute(&pool).await.unwrap();
    let left = "SELECT count(*) FROM graphile_worker._private_jobs";
    while sqlx::query_scalar::<_, i64>(left)
        .fetch_one(&pool)
        .await
        .unwrap()
        > 0
    {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(acted(&postgres.url()).await.len(), 2);
}

/// The new queue counts its jobs from 1 again, and the rows of the old jobs are still there.
#[tokio::test]
async fn a_forgotten_event_is_handled_again_after_the_queue_was_dropped() {
    let postgres = PostgresServer::start();
    let old = start("", &postgres.url());
    for (id, rows) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(deliver(&old, SECRET, &event(id)).await, 202);
        acted_in_time(&postgres.url(), rows).await;
    }
    drop(old);
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let drop_queue = sqlx::query("DROP SCHEMA graphile_worker CASCADE");
    drop_queue.execute(&pool).await.unwrap();
    // Both create the queue at the same time.
    let new = [(); 2].map(|()| Process::start(&mut command("", &postgres.url())));
    let new = new.map(Receiver::of_process);
    let log = EventLog::new(pool);
    for (id, rows) in [("c", 4), ("a", 5)] {
        assert!(log.forget(&Key::new(&format!("t{id}"))).await.unwrap());
        assert_eq!(deliver(&new[0], SECRET, &event(id)).await, 202);
        assert_eq!(acted_in_time(&postgres.url(), rows).await.len(), rows);
    }
}

#[tokio::test]
async fn a_role_that_owns_nothing_can_receive_and_work() {
    let postgres = PostgresServer::start();
    drop(start("receive", &postgres.url()));
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let run = async |sql| sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    run("CREATE ROLE second LOGIN BYPASSRLS;
         GRANT USAGE ON SCHEMA graphile_worker TO second;
         GRANT ALL ON ALL TABLES IN SCHEMA public, graphile_worker TO second;
         GRANT ALL ON ALL SEQUENCES IN SCHEMA graphile_worker TO second;")
    .await;
    let url = postgres.url().replace("test@", "second@");
    let both = start("", &url);
    assert_eq!(deliver(&both, SECRET, &event("a")).await, 202);
    acted_in_time(&postgres.url(), 1).await;
    assert_eq!(output("given-up", &url), "");

    // The role would neither see the jobs nor be able to add one.
    run("ALTER ROLE second NOBYPASSRLS").await;
    let (status, _, log) = Process::start(&mut command("", &url)).ended();
    assert!(!status.success() && log.contains("BYPASSRLS"), "{log}");
}

#[tokio::test]
async fn the_function_of_another_version_is_replaced() {
    let postgres = PostgresServer::start();
    drop(start("receive", &postgres.url()));
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let other = "CREATE OR REPLACE FUNCTION soundhash_event_task() RETURNS integer
        LANGUAGE sql AS 'SELECT 0'";
    sqlx::query(other).execute(&pool).await.unwrap();
    let both = start("", &postgres.url());
    assert_eq!(deliver(&both, SECRET, &event("a")).await, 202);
    acted_in_time(&postgres.url(), 1).await;
}

/// The queue fetches again immediately if it is not told to pause.
#[tokio::test]
async fn an_idle_worker_leaves_the_database_alone() {
    let postgres = PostgresServer::start();
    let _worker = start_worker(&postgres.url());
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let commits = async || {
        let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
        count
    };
    sleep(Duration::from_secs(3)).await;
    let before = commits().await;
    sleep(Duration::from_secs(5)).await;
    let after = commits().await;
    assert!(after - before < 500, "{} transactions", after - before);
}

/// If workers fetched one job at a time, a backlog of this size would take more than three minutes.
#[tokio::test]
async fn a_backlog_is_worked_off_faster_than_workers_poll() {
    const JOBS: usize = 1_500;

    let postgres = PostgresServer::start();
    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    insert_jobs(&pool, "t", JOBS, "now()").await;
    tokio::spawn(work::run(inbox, |_| Ok(()), CancellationToken::new()));
    acted_in_time(&postgres.url(), JOBS).await;
}

/// If the reply to a fetch is lost, the fetched jobs stay locked by a worker that does not know
/// about them. The queue never runs them, because that worker is alive.
#[tokio::test]
async fn a_worker_that_has_locked_jobs_without_knowing_them_is_replaced() {
    let (postgres, pool) = start_working().await;
    let insert =
        "INSERT INTO graphile_worker._private_jobs (task_id, payload, locked_by, locked_at)
        SELECT soundhash_event_task(), '{\"key\": \"first1\"}', id, now() - interval '1 min'
        FROM graphile_worker._private_workers";
    let locked = sqlx::query(insert).execute(&pool).await.unwrap();
    assert_eq!(locked.rows_affected(), 1);
    acted_in_time(&postgres.url(), 2).await;
}

#[tokio::test]
async fn a_worker_that_does_not_know_its_tasks_new_id_is_replaced() {
    let (postgres, pool) = start_working().await;
    let delete = "DELETE FROM graphile_worker._private_tasks";
    sqlx::query(delete).execute(&pool).await.unwrap();
    insert_jobs(&pool, "t", 10, "now() - interval '1 min'").await;
    acted_in_time(&postgres.url(), 11).await;
}

/// If the database's machine vanishes while a query is running, the query never ends.
#[tokio::test]
async fn a_worker_whose_fetch_never_ends_is_replaced() {
    let (postgres, pool) = start_working().await;
    let mut tx = pool.begin().await.unwrap();
    let lock = "LOCK TABLE graphile_worker._private_jobs";
    sqlx::query(lock).execute(&mut *tx).await.unwrap();
    let fetch = "SELECT pid FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query ILIKE '%skip locked%'";
    let fetch: i32 = loop {
        let found = sqlx::query_scalar(fetch).fetch_optional(&pool).await;
        if let Some(fetch) = found.unwrap() {
            break fetch;
        }
        sleep(Duration::from_millis(50)).await;
    };
    signal(fetch.try_into().unwrap(), "STOP");
    tx.commit().await.unwrap();
    insert_jobs(&pool, "t", 10, "now() - interval '1 min'").await;
    acted_in_time(&postgres.url(), 11).await;
}

/// Starts a worker, and waits until it has handled its first event.
async fn start_working() -> (PostgresServer, PgPool) {
    let postgres = PostgresServer::start();
    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    tokio::spawn(work::run(inbox, |_| Ok(()), CancellationToken::new()));
    insert_jobs(&pool, "first", 1, "now()").await;
    acted_in_time(&postgres.url(), 1).await;
    (postgres, pool)
}

/// If a worker's machine vanishes, its transactions keep their locks until Postgres notices.
#[tokio::test]
async fn a_lost_workers_locks_do_not_stop_the_others() {
    let postgres = PostgresServer::start();
    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    insert_jobs(&pool, "lost", 8, "now()").await;
    let mut lost = pool.begin().await.unwrap();
    let act = "INSERT INTO acted_events (event_key, job_id)
         SELECT payload->>'key', id FROM graphile_worker._private_jobs";
    let locked = sqlx::query(act).execute(&mut *lost).await.unwrap();
    assert_eq!(locked.rows_affected(), 8);
    tokio::spawn(work::run(inbox, |_| Ok(()), CancellationToken::new()));
    insert_jobs(&pool, "other", 1, "now()").await;
    acted_in_time(&postgres.url(), 1).await;
    lost.rollback().await.unwrap();
    acted_in_time(&postgres.url(), 9).await;
}

/// A job that kills its worker is recovered together with all the jobs that the worker had fetched,
/// and must not be the first one to run again.
#[tokio::test]
async fn a_recovered_job_is_put_off_while_it_runs() {
    let postgres = PostgresServer::start();
    let inbox = Inbox::open(&postgres.url()).await.unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    insert_jobs(&pool, "recovered", 1, "now()").await;
    // What the library does when it finds the jobs of a dead worker.
    let locked = "UPDATE graphile_worker._private_jobs SET locked_by = 'dead', locked_at = now()";
    sqlx::query(locked).execute(&pool).await.unwrap();
    let recover = "SELECT graphile_worker.recover_dead_worker_jobs(ARRAY['dead'])";
    let recovered: i32 = sqlx::query_scalar(recover).fetch_one(&pool).await.unwrap();
    assert_eq!(recovered, 1);
    let mut tx = pool.begin().await.unwrap();
    let block = "LOCK TABLE acted_events";
    sqlx::query(block).execute(&mut *tx).await.unwrap();
    tokio::spawn(work::run(inbox, |_| Ok(()), CancellationToken::new()));
    let put_off = "SELECT count(*) FROM graphile_worker._private_jobs
        WHERE locked_by IS NOT NULL AND run_at > now() + interval '20 s'";
    let start = Instant::now();
    loop {
        let put_off: i64 = sqlx::query_scalar(put_off).fetch_one(&pool).await.unwrap();
        if put_off == 1 {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(2), "not put off");
        sleep(Duration::from_millis(50)).await;
    }
    tx.rollback().await.unwrap();
    acted_in_time(&postgres.url(), 1).await;
}

/// Inserts `count` events, along with their jobs.
async fn insert_jobs(pool: &PgPool, name: &str, count: usize, run_at: &str) {
    let insert = format!(
        "WITH new_events AS (
             INSERT INTO soundhash_events (event_key, recorded, received_at, body)
             SELECT '{name}' || i, TRUE, now(), '' FROM generate_series(1, {count}) AS i
             RETURNING event_key)
         INSERT INTO graphile_worker._private_jobs (task_id, payload, run_at)
         SELECT soundhash_event_task(), json_build_object('key', event_key), {run_at}
         FROM new_events"
    );
    let insert = sqlx::query(sqlx::AssertSqlSafe(insert));
    insert.execute(pool).await.unwrap();
}
