//! Tables that were restored only in part, and the README's statements. Accepted events must not be
//! lost or handled twice.

use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, postgres::PgQueryResult};

use crate::support::{SECRET, acted, acted_in_time, deliver, event, output, start, start_worker};

/// The README's statements: the one that adds lost jobs, and the one that deletes old events.
fn readme() -> [&'static str; 2] {
    let parts = include_str!("../../README.md").split("```sql\n").skip(1);
    let blocks = parts.map(|part| part.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().try_into().unwrap()
}

async fn run(url: &str, sql: &str) -> sqlx::Result<PgQueryResult> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(count).fetch_one(pool).await.unwrap()
}

/// Starts a server with an event for each id. Their jobs wait.
async fn with_events(ids: &str) -> (PostgresServer, PgPool) {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    for id in ids.split(' ') {
        assert_eq!(deliver(&receiver, SECRET, &event(id)).await, 202);
    }
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    (postgres, pool)
}

#[tokio::test]
async fn a_role_from_which_the_jobs_are_hidden_cannot_run_the_readmes_statements() {
    let (postgres, pool) = with_events("a").await;
    let url = postgres.url();
    let prepare = "UPDATE soundhash_events SET received_at = now() - interval '31 days';
        CREATE ROLE second LOGIN;
        GRANT pg_read_all_data, pg_write_all_data TO second;";
    run(&url, prepare).await.unwrap();
    for sql in readme() {
        let hidden = run(&url.replace("test@", "second@"), sql).await;
        let error = hidden.unwrap_err().to_string();
        assert!(error.contains("row-level security"), "{error}");
        run(&url, sql).await.unwrap();
        assert_eq!(count(&pool, "soundhash_events").await, 1);
        assert_eq!(count(&pool, "graphile_worker._private_jobs").await, 1);
    }
    let _worker = start_worker(&url);
    while count(&pool, "soundhash_events").await > 0 {
        run(&url, readme()[1]).await.unwrap();
    }
    assert_eq!(acted(&url).await.len(), 1);
}

#[tokio::test]
async fn a_job_that_was_restored_without_its_task_is_listed_and_can_be_run_again() {
    let (postgres, _) = with_events("waits no-task other-task").await;
    let url = postgres.url();
    // The last two jobs belong to other programs.
    let restore = "
        INSERT INTO graphile_worker._private_tasks (identifier) VALUES ('other');
        UPDATE graphile_worker._private_jobs SET task_id = 100
            WHERE payload->>'key' LIKE '%no-task';
        UPDATE graphile_worker._private_jobs SET task_id = task.id
            FROM graphile_worker._private_tasks AS task
            WHERE task.identifier = 'other' AND payload->>'key' LIKE '%other-task';
        INSERT INTO graphile_worker._private_jobs (task_id, payload)
            VALUES (101, '{}'), (101, '{\"key\": \"theirs\"}')";
    run(&url, restore).await.unwrap();

    // The event whose job belongs to another task gets a new job, but only once.
    let [add_jobs, _] = readme();
    for added in [1, 0] {
        assert_eq!(run(&url, add_jobs).await.unwrap().rows_affected(), added);
    }
    let listed = output("given-up", &url);
    assert!(listed.ends_with("no-task\" 0 \"\"\n"), "{listed}");
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_eq!(output("run-again", &url), "1\n");
    assert_eq!(output("given-up", &url), "");
    let _worker = start_worker(&url);
    acted_in_time(&url, 3).await;

    // Its old job has nothing left to do.
    let repair = "UPDATE graphile_worker._private_jobs SET task_id = soundhash_event_task()
        WHERE payload->>'key' LIKE '%other-task'";
    assert_eq!(run(&url, repair).await.unwrap().rows_affected(), 1);
    let pool = PgPool::connect(&url).await.unwrap();
    while count(&pool, "graphile_worker._private_jobs").await > 2 {}
    assert_eq!(acted(&url).await.len(), 3);
}

#[tokio::test]
async fn an_event_that_lost_its_job_can_get_another() {
    let (postgres, pool) = with_events("a b").await;
    let url = postgres.url();
    let both = start("", &url);
    acted_in_time(&url, 2).await;
    drop(both);
    let receiver = start("receive", &url);
    assert_eq!(deliver(&receiver, SECRET, &event("c")).await, 202);
    drop(receiver);
    run(&url, "DROP SCHEMA graphile_worker CASCADE")
        .await
        .unwrap();

    let receiver = start("receive", &url);
    assert_eq!(deliver(&receiver, SECRET, &event("c")).await, 200);
    assert_eq!(run(&url, readme()[0]).await.unwrap().rows_affected(), 1);
    assert_eq!(count(&pool, "graphile_worker._private_jobs").await, 1);
    let _worker = start_worker(&url);
    let acted = acted_in_time(&url, 3).await;
    assert!(acted[2].0.ends_with('c'), "{acted:?}");
}

/// Sequences can be missing from a restore, and logical replication does not copy them.
#[tokio::test]
async fn new_jobs_get_other_ids_than_restored_ones() {
    let (postgres, _) = with_events("a b c").await;
    let url = postgres.url();
    let reset = "ALTER TABLE graphile_worker._private_jobs ALTER COLUMN id RESTART";
    run(&url, reset).await.unwrap();
    let both = start("", &url);
    assert_eq!(deliver(&both, SECRET, &event("d")).await, 202);
    acted_in_time(&url, 4).await;
}
