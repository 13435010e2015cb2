//! The differences between the databases, behind one sealed trait.
//!
//! Each log assembles its SQL once ([`statements`]) from the words of its database. The code
//! outside of this folder is the same for both databases.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc, time::Duration};

use sqlx::Pool;

pub(crate) use self::statements::Statements;
use crate::name::TableName;

/// A database that an [`EventLog`](crate::EventLog) can live in: `sqlx::Postgres` or
/// `sqlx::Sqlite`.
///
/// This trait is sealed. Bound your own generic code with it, as in
/// `fn app<DB: Backend>(log: EventLog<DB>)`.
pub trait Backend: Sql {}

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A value to bind.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    OptionalText(Option<Cow<'a, str>>),
    Integer(i64),
    OptionalInteger(Option<i64>),
    Bytes(&'a [u8]),
}

/// What a step that takes too long waits for.
#[derive(Clone, Copy, Debug)]
pub enum Late {
    /// The end of another transaction.
    Lock,
    /// The reply of the database.
    Reply,
}

/// The steps that need the types of one database.
#[doc(hidden)]
pub trait Sql: sqlx::Database {
    /// Begins a transaction that may write.
    const BEGIN: &'static str;

    /// The words from which the statements are assembled.
    fn words() -> Words;

    /// The SQL before and after the `INSERT` that records an event. The `INSERT` reads from
    /// `ready`.
    fn around_record(name: &TableName) -> (String, &'static str);

    /// The statements of each version of the table, oldest first.
    fn migrations(name: &TableName) -> Vec<String>;

    /// Returns whether the table of migrations exists.
    fn is_migrated<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<bool>>;

    /// Keeps other processes from migrating until the transaction ends, and creates the schema.
    fn prepare_migrations<'a>(
        connection: &'a mut Self::Connection,
        name: &'a TableName,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// How long a step may take that waits for a lock, and what it means if it takes longer.
    fn time_limit(lock_timeout: Duration) -> (Duration, Late);

    /// Runs the statement that records an event, which waits at most `lock_timeout` for a lock.
    /// Returns whether the event is new.
    fn record<'a>(
        connection: &'a mut Self::Connection,
        sql: &'a Arc<str>,
        values: &'a [Value<'a>],
        lock_timeout: Duration,
    ) -> BoxFuture<'a, sqlx::Result<bool>>;

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

/// The SQL expressions that the databases write differently.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The current time, in the type of the columns.
    pub now: &'static str,
    /// An instant from a number of microseconds since the Unix epoch, `?`.
    pub instant: &'static str,
    /// A span from a number of microseconds, `?`.
    pub span: &'static str,
    /// A number of microseconds since the Unix epoch from an instant, `?`.
    pub micros: &'static str,
    /// The length of a body, as a 64-bit integer.
    pub body_len: &'static str,
    /// A condition, `?`, as a 64-bit integer.
    pub integer: &'static str,
    /// Skips rows that another transaction has locked.
    pub skip_locked: &'static str,
}

impl Words {
    /// Inserts `value` into a word with a `?`.
    fn fill(word: &str, value: &str) -> String {
        word.replace('?', value)
    }
}

/// The steps whose code differs only in its types.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! common_steps {
    () => {
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

/// Binds the values to a statement of one database.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! bind {
    ($database:ty, $sql:expr, $values:expr) => {{
        // The names in it were validated, and everything else is bound.
        let mut query = sqlx::query::<$database>(sqlx::AssertSqlSafe(Arc::clone($sql)));
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text.to_string()),
                Value::OptionalText(text) => query.bind(text.as_deref().map(str::to_owned)),
                Value::Integer(number) => query.bind(*number),
                Value::OptionalInteger(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(*bytes),
            };
        }
        query
    }};
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use {bind, common_steps};

/// Takes a connection for one statement, and returns the number of rows it changed.
pub(crate) async fn execute<DB: Backend>(
    pool: &Pool<DB>,
    sql: &Arc<str>,
    values: &[Value<'_>],
) -> sqlx::Result<u64> {
    DB::execute(&mut *pool.acquire().await?, sql, values).await
}

/// Takes a connection for one statement, and returns its rows.
pub(crate) async fn fetch<DB: Backend>(
    pool: &Pool<DB>,
    sql: &Arc<str>,
    values: &[Value<'_>],
) -> sqlx::Result<Vec<DB::Row>> {
    DB::fetch(&mut *pool.acquire().await?, sql, values).await
}
