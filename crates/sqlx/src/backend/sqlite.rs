//! The backend for SQLite.

use std::{collections::HashSet, sync::Arc, time::Duration};

use soundhash_webhook::Delivery;
use sqlx::{
    Row, Sqlite, SqliteConnection, SqlitePool, Transaction, query::Query, sqlite::SqliteArguments,
};
use sqlx_core::transaction::TransactionManager;

use super::{
    Backend, BoxFuture, Change, Changed, Sql, Statements, Value, Words, bind, common_steps, depth,
    is_duplicate, recorded,
};
use crate::{
    error::{EventLogError, EventLogErrorKind, TimedOut},
    name::TableName,
};

impl Backend for Sqlite {}

/// The number of values that are bound per row.
const ROW_VALUES: usize = 6;

/// The shortest time limit. A statement can take this long even without waiting for a lock.
const SHORTEST: Duration = Duration::from_millis(100);

fn query<'q>(sql: &Arc<str>, values: &[Value<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    bind!(Sqlite, sql, values)
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}

/// Returns whether SQLite has rolled back the connection's outermost transaction on its own. If so,
/// this begins a new one, so that sqlx's `ROLLBACK` succeeds.
async fn was_rolled_back(connection: &mut SqliteConnection) -> bool {
    // `BEGIN` fails inside a transaction.
    run(connection, "BEGIN").await.is_ok()
}

/// Returns whether the savepoint from [`begin`](Sql::begin) is missing. Either the transaction was
/// begun by another function, it has already recorded an event, or SQLite has rolled it back on its
/// own.
fn has_no_savepoint(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.message().starts_with("no such savepoint"))
}

/// Records events in a single statement, because sending a statement to sqlx's thread costs more
/// than inserting a row.
async fn record_rows(
    connection: &mut SqliteConnection,
    statements: &Statements,
    deliveries: &[&Delivery],
) -> sqlx::Result<Vec<Changed>> {
    // The number of rows is padded to a power of two, so that only a few statements have to be
    // prepared. The statement skips rows without a key.
    let rows = deliveries.len().next_power_of_two();
    let [before, after] = &statements.record_rows;
    let sql = format!(
        "{before}{}{after}",
        vec!["(?, ?, ?, ?, ?, ?)"; rows].join(",")
    );
    let mut values: Vec<Value<'_>> = deliveries.iter().flat_map(|it| recorded(it)).collect();
    values.resize(rows * ROW_VALUES, Value::OptionalText(None));
    let mut new = keys(connection, &sql.into(), &values).await?;
    let mut duplicates = HashSet::new();
    if new.len() < deliveries.len() {
        let sql = format!("{}({})", statements.duplicates, vec!["?"; rows].join(","));
        let values: Vec<Value<'_>> = values.iter().step_by(ROW_VALUES).cloned().collect();
        duplicates = keys(connection, &sql.into(), &values).await?;
    }
    if !new.is_empty() {
        let keys = new.iter().map(|key| Value::Text(key.into()));
        Sqlite::write_jobs(connection, statements, &keys.collect::<Vec<_>>()).await?;
    }
    let all = values.iter().step_by(ROW_VALUES).take(deliveries.len());
    let changed = all.map(|key| match key {
        // If a batch has several deliveries of the same event, only the first is new.
        Value::Text(key) if new.remove(&**key) => Changed::Rows(1),
        Value::Text(key) if duplicates.contains(&**key) => Changed::Rows(0),
        _ => Changed::Undecided,
    });
    Ok(changed.collect())
}

async fn keys(
    connection: &mut SqliteConnection,
    sql: &Arc<str>,
    values: &[Value<'_>],
) -> sqlx::Result<HashSet<String>> {
    let rows = query(sql, values).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn no_transaction(text: &'static str) -> EventLogError {
    EventLogError::new(EventLogErrorKind::NoTransaction, text)
}

impl Sql for Sqlite {
    const ONE_WRITER: bool = true;
    const WRITERS: usize = 1;

    // A deferred transaction that reads before it writes fails immediately if another transaction
    // has written in between. A longer timeout would not help.
    //
    // If an earlier user of the connection left a transaction open, `BEGIN IMMEDIATE` would take
    // the write lock before failing. A plain `BEGIN` fails without taking it, so it comes first.
    const BEGIN: &'static str = "BEGIN; ROLLBACK; BEGIN IMMEDIATE";

    const READ_COMMITTED: &'static str = "";

    // The savepoint exists only as long as the transaction does, so `record` notices if SQLite has
    // rolled it back. If SQLite was not allowed to write to the file when it opened it, this
    // connection stays read-only, and `BEGIN IMMEDIATE` succeeds anyway, but the `DELETE` fails.
    fn begin(name: &TableName) -> String {
        format!(
            "BEGIN; ROLLBACK; DELETE FROM {} WHERE FALSE; BEGIN IMMEDIATE; \
             SAVEPOINT soundhash_webhook",
            name.table()
        )
    }

    fn words() -> Words {
        Words {
            now: "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)",
            instant: "?",
            span: "?",
            micros: "?",
            body_len: "length(body)",
            integer: "(?)",
            skip_locked: "",
            // The transaction already holds a lock on the whole database.
            try_lock: "TRUE",
            transaction: "''",
            // `BEGIN IMMEDIATE` has already waited for the lock.
            wait_and_record: "",
            number: "?",
        }
    }

    fn migrations(name: &TableName) -> Vec<String> {
        // `CREATE INDEX` expects the schema before the index name, not before the table name.
        let table = name.table();
        vec![format!(
            r#"CREATE TABLE IF NOT EXISTS {table} (
                event_key TEXT NOT NULL PRIMARY KEY,
                recorded INTEGER NOT NULL DEFAULT FALSE,
                event_type TEXT,
                endpoint TEXT,
                created_at INTEGER,
                received_at INTEGER,
                claim_token BLOB,
                claimed_until INTEGER,
                retention INTEGER,
                body BLOB,
                uncompressed_len INTEGER
            );
            CREATE INDEX IF NOT EXISTS {by_time} ON "{bare}" (received_at, event_key)
                WHERE received_at IS NOT NULL;
            CREATE INDEX IF NOT EXISTS {by_claim} ON "{bare}" (claimed_until) WHERE received_at IS NULL;"#,
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
                "SELECT count(*) FROM \"{schema}\".sqlite_master WHERE type = 'table' AND name IN ($1, $2)"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(name.migrations().bare())
                .bind(name.table().bare())
                .fetch_one(connection)
                .await?;
            Ok(row.try_get::<i64, _>(0)? == 2)
        })
    }

    fn prepare_migrations<'a>(
        _: &'a mut Self::Connection,
        _: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        // `BEGIN IMMEDIATE` already holds the only write lock. A schema is a file that the user has
        // attached, so it already exists.
        Box::pin(async { Ok(()) })
    }

    /// Brings SQLite's transactions in line with sqlx's count, and then ends them.
    fn clean(connection: &mut SqliteConnection) -> BoxFuture<'_, sqlx::Result<()>> {
        Box::pin(async move {
            let levels = depth::<Self>(connection);
            // `ROLLBACK` fails outside a transaction.
            let _ = run(connection, "ROLLBACK").await;
            run(connection, "BEGIN").await?;
            for level in 1..levels {
                let savepoint = format!("SAVEPOINT _sqlx_savepoint_{level}");
                Self::execute_raw(connection, savepoint).await?;
            }
            for _ in 0..levels {
                <Self as sqlx::Database>::TransactionManager::rollback(connection).await?;
            }
            Ok(())
        })
    }

    fn check<'a>(
        connection: &'a mut SqliteConnection,
        pool: &'a SqlitePool,
    ) -> BoxFuture<'a, Result<(), EventLogError>> {
        Box::pin(async move {
            let file = "SELECT file FROM pragma_database_list WHERE name = 'main'";
            let file: Option<String> = sqlx::query_scalar(file).fetch_one(connection).await?;
            let options = pool.options();
            let keeps_one_connection = options.get_max_connections() == 1
                && options.get_idle_timeout().is_none()
                && options.get_max_lifetime().is_none();
            if file.is_none_or(|file| file.is_empty()) && !keeps_one_connection {
                return Err(EventLogError::new(
                    EventLogErrorKind::InMemory,
                    "database is not in a file, so it ends with its connection: use a file, or in \
                     tests a pool with `max_connections(1)`, `idle_timeout(None)` and \
                     `max_lifetime(None)`",
                ));
            }
            Ok(())
        })
    }

    // A statement that waits for SQLite's lock cannot be interrupted, and the connection's
    // `busy_timeout` is up to the caller. Each step therefore has its own time limit.
    fn is_busy(_: &SqlitePool) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    fn time_limit(lock_timeout: Duration) -> (Duration, TimedOut) {
        (lock_timeout.max(SHORTEST), TimedOut::Lock)
    }

    fn record<'a>(
        tx: &'a mut Transaction<'_, Self>,
        _: &'a SqlitePool,
        statements: &'a Statements,
        values: &'a [Value<'a>],
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, EventLogError>> {
        let connection = &mut **tx;
        Box::pin(async move {
            // After an automatic rollback, sqlx treats the next transaction as nested. Committing
            // it would only release a savepoint, which is not always durable.
            if depth::<Self>(connection) != 1 {
                Self::clean(connection).await?;
                // This begins a new transaction. Otherwise, if the caller ignored the error, its
                // later statements would be committed on their own.
                <Self as sqlx::Database>::TransactionManager::begin(connection, None).await?;
                return Err(no_transaction(
                    "transaction is nested, or SQLite has rolled back an earlier one by itself",
                ));
            }
            let first = query(&statements.record_first, values);
            let inserted = match first.fetch_optional(&mut *connection).await {
                Err(error) if has_no_savepoint(&error) => {
                    if was_rolled_back(connection).await {
                        return Err(no_transaction(
                            "SQLite has rolled back the transaction by itself",
                        ));
                    }
                    let next = query(&statements.record, values);
                    next.fetch_optional(&mut *connection).await
                }
                done => done,
            };
            if inserted.is_err() {
                was_rolled_back(connection).await;
            }
            if inserted?.is_some() {
                return Ok(true);
            }
            match is_duplicate::<Self>(connection, statements, values).await? {
                (true, _) => Ok(false),
                (false, _) => Err(EventLogError::skipped()),
            }
        })
    }

    fn is_one_statement(statements: &Statements, changes: &[&Change]) -> bool {
        let mut records = changes.iter().filter(|it| matches!(it, Change::Record(_)));
        match statements.jobs {
            None => changes.len() == 1 || records.count() == changes.len(),
            Some(_) => changes.len() == 1 && records.next().is_none(),
        }
    }

    fn change<'a>(
        connection: &'a mut SqliteConnection,
        statements: &'a Statements,
        changes: &'a [&'a Change],
    ) -> BoxFuture<'a, sqlx::Result<Vec<Changed>>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(changes.len());
            let mut changes = changes;
            while let [change, rest @ ..] = changes {
                if let Change::Execute(sql, values) = change {
                    let rows = Self::execute(&mut *connection, sql, values).await?;
                    all.push(Changed::Rows(rows));
                    changes = rest;
                    continue;
                }
                let deliveries = changes.iter().map_while(|change| match change {
                    Change::Record(delivery) => Some(delivery),
                    Change::Execute(..) => None,
                });
                let deliveries: Vec<&Delivery> = deliveries.collect();
                all.extend(record_rows(connection, statements, &deliveries).await?);
                changes = &changes[deliveries.len()..];
            }
            Ok(all)
        })
    }

    common_steps!();
}
