//! Tables that were restored only in part. Accepted events must not be
//! lost or handled twice.

use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgQueryResult};

use crate::support::{SECRET, acted_in_time, deliver, event, start};

async fn run(url: &str, sql: &str) -> sqlx::Result<PgQueryResult> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await
}

/// Starts a server with an event for each id. Their jobs wait.
async fn with_events(ids: &str) -> PostgresServer {
    let postgres = PostgresServer::start();
    let receiver = start("receive", &postgres.url());
    for id in ids.split(' ') {
        assert_eq!(deliver(&receiver, SECRET, &event(id)).await, 202);
    }
    postgres
}

/// Sequences can be missing from a restore, and logical replication does not copy them.
#[tokio::test]
async fn new_jobs_get_other_ids_than_restored_ones() {
    let postgres = with_events("a b c").await;
    let url = postgres.url();
    let reset = "ALTER TABLE graphile_worker._private_jobs ALTER COLUMN id RESTART";
    run(&url, reset).await.unwrap();
    let both = start("", &url);
    assert_eq!(deliver(&both, SECRET, &event("d")).await, 202);
    acted_in_time(&url, 4).await;
}
