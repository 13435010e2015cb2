//! The differences between the databases, behind one sealed trait.
//!
//! Each log assembles its SQL once ([`statements`]) in its database's dialect. The code outside
//! this module is the same for both databases.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc, time::Duration};

use soundhash_webhook::{Delivery, idempotency::Key};
use sqlx::{Pool, Transaction};
use sqlx_core::transaction::TransactionManager;

pub(crate) use self::statements::{Statements, recorded};
use crate::{
    error::{EventLogError, TimedOut},
    name::TableName,
    text::escape,
};

/// A database that can hold an [`EventLog`](crate::EventLog): `sqlx::Postgres` or `sqlx::Sqlite`.
///
/// This trait is sealed. Use it as a bound in your own generic code, as in `fn app<DB:
/// Backend>(log: EventLog<DB>)`.
pub trait Backend: Sql {}

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A value to bind to a statement's parameter.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    OptionalText(Option<Cow<'a, str>>),
    Integer(i64),
    OptionalInteger(Option<i64>),
    Bytes(Cow<'a, [u8]>),
    Token([u8; 16]),
}

impl Value<'static> {
    pub(crate) fn key(key: &Key) -> Self {
        Self::Text(Cow::Owned(escape(key.as_str()).into_owned()))
    }
}

/// A change that can be committed together with others.
#[derive(Clone, Debug)]
pub enum Change {
    /// Records an event.
    Record(Delivery),
    /// Runs a statement.
    Execute(Arc<str>, Vec<Value<'static>>),
}

/// The result of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The number of rows that the change affected.
    Rows(u64),
    /// Another transaction holds the event's lock, or the event is neither new nor a duplicate.
    Undecided,
}

/// The time after which a server is asked whether it still executes a statement.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// The operations that depend on the types of a database.
#[doc(hidden)]
pub trait Sql: sqlx::Database {
    /// Begins a transaction that may write, and that sees what other transactions commit while it
    /// waits for a lock.
    const BEGIN: &'static str;

    /// SQL that sets the isolation level of the transaction that is begun right after it.
    const READ_COMMITTED: &'static str;

    /// Returns SQL that begins a transaction that may write, and that fails if the connection
    /// cannot write to the table.
    fn begin(name: &TableName) -> String;

    /// The SQL expressions from which the statements are assembled.
    fn words() -> Words;

    /// The migration statements for each version of the table, oldest first.
    fn migrations(name: &TableName) -> Vec<String>;

    /// Returns whether both the events table and the migrations table exist.
    fn is_migrated<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<bool>>;

    /// Ends all transactions that are still open on a pooled connection.
    fn clean(connection: &mut Self::Connection) -> BoxFuture<'_, sqlx::Result<()>>;

    /// Returns an error if the database cannot store every event, if the connections of the pool do
    /// not share it, or if a pooler in front of it mixes up prepared statements.
    fn check<'a>(
        connection: &'a mut Self::Connection,
        pool: &'a Pool<Self>,
    ) -> BoxFuture<'a, Result<(), EventLogError>>;

    /// Keeps other processes from migrating until the transaction ends, and creates the schema.
    fn prepare_migrations<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Returns whether the server executes a statement of this user that takes longer than
    /// [`LONG`]. If this cannot be found out, returns `true`.
    fn is_busy(pool: &Pool<Self>) -> BoxFuture<'_, bool>;

    /// Returns how long a step that waits for a lock may take, and what it was waiting for if it
    /// takes longer.
    fn time_limit(lock_timeout: Duration) -> (Duration, TimedOut);

    /// Records an event, waiting for a lock for at most `lock_timeout`. Returns whether the event
    /// is new rather than a duplicate.
    fn record<'a>(
        tx: &'a mut Transaction<'_, Self>,
        pool: &'a Pool<Self>,
        statements: &'a Statements,
        values: &'a [Value<'a>],
        lock_timeout: Duration,
    ) -> BoxFuture<'a, Result<bool, EventLogError>>;

    /// Whether the database allows only one write transaction at a time, so that all changes go
    /// through a single writer.
    const ONE_WRITER: bool;

    /// The number of batches that [`EventLog::accept`](crate::EventLog::accept) commits
    /// concurrently.
    const WRITERS: usize;

    /// Returns whether [`change`](Self::change) applies these changes in a single write statement.
    fn is_one_statement(statements: &Statements, changes: &[&Change]) -> bool;

    /// Applies these changes and writes the jobs for new events, within the connection's
    /// transaction if it has one.
    fn change<'a>(
        connection: &'a mut Self::Connection,
        statements: &'a Statements,
        changes: &'a [&'a Change],
    ) -> BoxFuture<'a, sqlx::Result<Vec<Changed>>>;

    /// Writes the jobs for the events with these keys, within the connection's transaction.
    fn write_jobs<'a>(
        connection: &'a mut Self::Connection,
        statements: &'a Statements,
        keys: &'a [Value<'a>],
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Runs a statement and returns the number of rows it changed.
    fn execute<'a>(
        connection: &'a mut Self::Connection,
        sql: &'a Arc<str>,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, sqlx::Result<u64>>;

    /// Runs a statement and returns its rows.
    fn fetch<'a>(
        connection: &'a mut Self::Connection,
        sql: &'a Arc<str>,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, sqlx::Result<Vec<Self::Row>>>;

    /// Runs statements without parameters.
    fn execute_raw(
        connection: &mut Self::Connection,
        sql: String,
    ) -> BoxFuture<'_, sqlx::Result<()>>;

    fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>>;
    fn integer(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>>;
    fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>>;
}

/// The SQL expressions that differ between the databases.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The current time, in the type of the time columns.
    pub now: &'static str,
    /// Converts `?`, a number of microseconds since the Unix epoch, into an instant.
    pub instant: &'static str,
    /// Converts `?`, a number of microseconds, into a span.
    pub span: &'static str,
    /// Converts the instant `?` into a number of microseconds since the Unix epoch.
    pub micros: &'static str,
    /// The length of a body, as a 64-bit integer.
    pub body_len: &'static str,
    /// Converts the condition `?` into a 64-bit integer.
    pub integer: &'static str,
    /// The clause that skips rows locked by other transactions.
    pub skip_locked: &'static str,
    /// Tries to take the lock with the number `?`. Evaluates to false if another transaction holds
    /// it.
    pub try_lock: &'static str,
    /// Identifies the connection's server process and its transaction, as text.
    pub transaction: &'static str,
    /// The template for [`Statements::wait_and_record`], or empty if a statement cannot wait for a
    /// lock. `$insert` reads from `ready`, which contains a row once the statement holds the lock
    /// `$number`.
    pub wait_and_record: &'static str,
    /// The number of the lock for the key `?` in the table `$table`.
    pub number: &'static str,
}

impl Words {
    /// Replaces the `?` in an expression with `value`.
    fn fill(word: &str, value: &str) -> String {
        word.replace('?', value)
    }
}

/// Returns the number of nested transactions that sqlx has begun on this connection.
pub(crate) fn depth<DB: sqlx::Database>(connection: &DB::Connection) -> usize {
    DB::TransactionManager::get_transaction_depth(connection)
}

/// Returns whether the event is a duplicate, and the connection's server process and transaction. An
/// event whose row is dropped by a trigger is neither new nor a duplicate.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
async fn is_duplicate<DB: Sql>(
    connection: &mut DB::Connection,
    statements: &Statements,
    values: &[Value<'_>],
) -> sqlx::Result<(bool, String)> {
    let rows = DB::fetch(connection, &statements.duplicate, &values[..1]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let transaction = DB::text(row, 1)?.unwrap_or_default();
    Ok((DB::integer(row, 0)? == Some(1), transaction))
}

/// The methods that are the same for both databases except for their types.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! common_steps {
    () => {
        fn write_jobs<'a>(
            connection: &'a mut Self::Connection,
            statements: &'a Statements,
            keys: &'a [Value<'a>],
        ) -> BoxFuture<'a, sqlx::Result<()>> {
            Box::pin(async move {
                let Some([before, after]) = &statements.jobs else {
                    return Ok(());
                };
                // The list of keys is padded with NULLs to a power of two, so that only a few
                // statements have to be prepared. No event has the key NULL.
                let mut keys = keys.to_vec();
                keys.resize(keys.len().next_power_of_two(), Value::OptionalText(None));
                let placeholders: Vec<_> = (1..=keys.len())
                    .map(|number| format!("${number}"))
                    .collect();
                let sql = format!("{before}{}{after}", placeholders.join(","));
                query(&sql.into(), &keys)
                    .fetch_all(connection)
                    .await
                    .map(drop)
            })
        }

        fn execute<'a>(
            connection: &'a mut Self::Connection,
            sql: &'a Arc<str>,
            values: &'a [Value<'a>],
        ) -> BoxFuture<'a, sqlx::Result<u64>> {
            Box::pin(async move {
                let done = query(sql, values).execute(connection).await?;
                Ok(done.rows_affected())
            })
        }

        fn fetch<'a>(
            connection: &'a mut Self::Connection,
            sql: &'a Arc<str>,
            values: &'a [Value<'a>],
        ) -> BoxFuture<'a, sqlx::Result<Vec<Self::Row>>> {
            Box::pin(query(sql, values).fetch_all(connection))
        }

        fn execute_raw(
            connection: &mut Self::Connection,
            sql: String,
        ) -> BoxFuture<'_, sqlx::Result<()>> {
            Box::pin(async move {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }

        fn text(row: &Self::Row, column: usize) -> sqlx::Result<Option<String>> {
            sqlx::Row::try_get(row, column)
        }

        fn integer(row: &Self::Row, column: usize) -> sqlx::Result<Option<i64>> {
            sqlx::Row::try_get(row, column)
        }

        fn bytes(row: &Self::Row, column: usize) -> sqlx::Result<Vec<u8>> {
            sqlx::Row::try_get(row, column)
        }
    };
}

/// Binds values to a statement for one of the databases.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! bind {
    ($database:ty, $sql:expr, $values:expr) => {{
        // The names in the SQL have been validated, and everything else is bound as a parameter.
        let mut query = sqlx::query::<$database>(sqlx::AssertSqlSafe(Arc::clone($sql)));
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(&**text),
                Value::OptionalText(text) => query.bind(text.as_deref()),
                Value::Integer(number) => query.bind(*number),
                Value::OptionalInteger(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(&**bytes),
                Value::Token(token) => query.bind(&token[..]),
            };
        }
        query
    }};
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use {bind, common_steps};
