//! PostgreSQL.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::Query};

use super::{Backend, BoxFuture, Late, Sql, Value, Words, bind, common_steps};
use crate::name::TableName;

impl Backend for Postgres {}

/// How much longer than the lock timeout the server may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

fn query<'q>(sql: &Arc<str>, values: &[Value<'_>]) -> Query<'q, Postgres, PgArguments> {
    bind!(Postgres, sql, values)
}

/// The value of `lock_timeout`. Zero would disable the limit.
fn millis(timeout: Duration) -> String {
    let most = u128::from(i32::MAX.unsigned_abs());
    format!("{}ms", timeout.as_millis().clamp(1, most))
}

impl Sql for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn words() -> Words {
        Words {
            // Not `now()`, which is the start of the transaction.
            now: "clock_timestamp()",
            instant: "(timestamptz 'epoch' + ? * interval '1 microsecond')",
            span: "? * interval '1 microsecond'",
            micros: "(extract(epoch FROM ?) * 1000000)::bigint",
            body_len: "octet_length(body)::bigint",
            integer: "(?)::int::bigint",
            skip_locked: " FOR UPDATE SKIP LOCKED",
        }
    }

    // One round trip. Each part depends on the previous one. The statement sets the timeout, waits
    // for the lock of the key, inserts the row, and resets the timeout for the caller's own
    // statements.
    //
    // The unique index alone would wait, too. But each time that an earlier transaction rolls back,
    // the wait would start again with a new timeout. Waiting for a lock has only one timeout.
    fn around_record(name: &TableName) -> (String, &'static str) {
        let before = format!(
            "WITH setting AS MATERIALIZED (\
             SELECT previous, set_config('lock_timeout', $6, TRUE) AS applied \
             FROM (SELECT current_setting('lock_timeout') AS previous OFFSET 0) AS before), \
             ready AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended(\
             '{table}' || $1 COLLATE \"C\", 0))::text AS locked \
             FROM setting WHERE applied IS NOT NULL), \
             inserted AS (",
            table = name.table(),
        );
        let after = ") SELECT inserted_rows, set_config('lock_timeout', previous, TRUE) \
                     FROM (SELECT count(*) AS inserted_rows FROM inserted) AS counted, setting";
        (before, after)
    }

    fn migrations(name: &TableName) -> Vec<String> {
        let table = name.table();
        vec![format!(
            r#"CREATE TABLE {table} (
                event_key text COLLATE "C" PRIMARY KEY,
                recorded boolean NOT NULL DEFAULT FALSE,
                event_type text,
                endpoint text,
                created_at timestamptz,
                received_at timestamptz,
                claim_token bytea,
                claimed_until timestamptz,
                retention bigint,
                body bytea
            );
            CREATE INDEX "{by_time}" ON {table} (received_at, event_key)
                WHERE received_at IS NOT NULL;
            CREATE INDEX "{by_claim}" ON {table} (claimed_until) WHERE received_at IS NULL;"#,
            by_time = name.index("_received_at").bare(),
            by_claim = name.index("_claimed_until").bare(),
        )]
    }

    fn is_migrated<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<bool>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
                .bind(name.migrations().to_string())
                .fetch_one(connection)
                .await?;
            row.try_get(0)
        })
    }

    fn prepare_migrations<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('soundhash_webhook', 0))")
                .execute(&mut *connection)
                .await?;
            let Some(schema) = name.schema() else {
                return Ok(());
            };
            // `IF NOT EXISTS` needs the right to create schemas even if the schema exists.
            let exists = sqlx::query("SELECT to_regnamespace($1) IS NOT NULL")
                .bind(format!("\"{schema}\""))
                .fetch_one(&mut *connection)
                .await?;
            if !exists.try_get::<bool, _>(0)? {
                Self::execute_raw(connection, format!("CREATE SCHEMA \"{schema}\"")).await?;
            }
            Ok(())
        })
    }

    // The server ends the wait for a lock.
    fn time_limit(lock_timeout: Duration) -> (Duration, Late) {
        (lock_timeout.saturating_add(REPLY_TIMEOUT), Late::Reply)
    }

    fn record<'a>(
        connection: &'a mut PgConnection,
        sql: &'a Arc<str>,
        values: &'a [Value<'a>],
        lock_timeout: Duration,
    ) -> BoxFuture<'a, sqlx::Result<bool>> {
        Box::pin(async move {
            let query = query(sql, values).bind(millis(lock_timeout));
            let inserted: i64 = query.fetch_one(connection).await?.try_get(0)?;
            Ok(inserted > 0)
        })
    }

    common_steps!();
}
