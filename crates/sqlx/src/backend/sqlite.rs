//! SQLite.

use std::{sync::Arc, time::Duration};

use sqlx::{Row, Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::{Backend, BoxFuture, Late, Sql, Value, Words, bind, common_steps};
use crate::name::TableName;

impl Backend for Sqlite {}

/// A statement can take this long without waiting for a lock.
const SHORTEST: Duration = Duration::from_millis(100);

fn query<'q>(sql: &Arc<str>, values: &[Value<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    bind!(Sqlite, sql, values)
}

impl Sql for Sqlite {
    // A deferred transaction that reads before it writes fails at once if another transaction has
    // written in between. A longer timeout does not help.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn words() -> Words {
        Words {
            now: "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)",
            instant: "?",
            span: "?",
            micros: "?",
            body_len: "length(body)",
            integer: "(?)",
            skip_locked: "",
        }
    }

    fn around_record(_: &TableName) -> (String, &'static str) {
        ("WITH ready AS (SELECT 1 AS locked) ".to_owned(), "")
    }

    fn migrations(name: &TableName) -> Vec<String> {
        // The name of an index includes the schema. The name of its table must not.
        let table = name.table();
        vec![format!(
            r#"CREATE TABLE {table} (
                event_key TEXT NOT NULL PRIMARY KEY,
                recorded INTEGER NOT NULL DEFAULT FALSE,
                event_type TEXT,
                endpoint TEXT,
                created_at INTEGER,
                received_at INTEGER,
                claim_token BLOB,
                claimed_until INTEGER,
                retention INTEGER,
                body BLOB
            );
            CREATE INDEX {by_time} ON "{bare}" (received_at, event_key)
                WHERE received_at IS NOT NULL;
            CREATE INDEX {by_claim} ON "{bare}" (claimed_until) WHERE received_at IS NULL;"#,
            by_time = name.index("_received_at"),
            by_claim = name.index("_claimed_until"),
            bare = table.bare(),
        )]
    }

    fn is_migrated<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<bool>> {
        Box::pin(async move {
            let schema = name.schema().unwrap_or("main");
            let sql = format!(
                "SELECT count(*) FROM \"{schema}\".sqlite_master WHERE type = 'table' AND name = $1"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(name.migrations().bare())
                .fetch_one(connection)
                .await?;
            Ok(row.try_get::<i64, _>(0)? > 0)
        })
    }

    fn prepare_migrations<'a>(
        _: &'a mut Self::Connection,
        _: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        // `BEGIN IMMEDIATE` holds the only write lock. A schema is a file that the user has
        // attached, so it exists.
        Box::pin(async { Ok(()) })
    }

    // A statement that waits for SQLite's lock cannot be interrupted, and the connection's
    // `busy_timeout` belongs to the caller.
    fn time_limit(lock_timeout: Duration) -> (Duration, Late) {
        (lock_timeout.max(SHORTEST), Late::Lock)
    }

    fn record<'a>(
        connection: &'a mut SqliteConnection,
        sql: &'a Arc<str>,
        values: &'a [Value<'a>],
        _: Duration,
    ) -> BoxFuture<'a, sqlx::Result<bool>> {
        Box::pin(async move {
            let inserted = query(sql, values).fetch_optional(connection).await?;
            Ok(inserted.is_some())
        })
    }

    common_steps!();
}
