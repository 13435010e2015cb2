//! The errors of the event log, which become 503 responses.

use std::{error, fmt, sync::Arc, time::Duration};

use axum_core::response::{IntoResponse, Response};
use soundhash_webhook::idempotency::Outcome;
use sqlx::error::{DatabaseError, ErrorKind};

use crate::telemetry;

/// An error from an [`EventLog`](crate::EventLog).
///
/// Every [`kind`](Self::kind) becomes a 503 response, so that SoundHash sends the event again. The
/// response never contains the reason, but its extensions contain this error. The crate logs its
/// own failed steps at the `error` level, and the errors of your statements and of `commit` when
/// they become a response: at most 1,000 of each per minute.
///
/// If the connection breaks during `commit`, the transaction may have been committed. The next
/// delivery is then a duplicate.
///
/// Any [`sqlx::Error`] converts into an `EventLogError`, so that a handler can use `?` for its own
/// statements and for `commit`. See the [example](crate).
#[derive(Clone, Debug)]
pub struct EventLogError {
    kind: EventLogErrorKind,
    reason: Reason,
    pub(crate) is_logged: bool,
}

#[derive(Clone, Debug)]
enum Reason {
    Sqlx(Arc<sqlx::Error>),
    /// This crate's own timeout expired.
    TimedOut(Duration),
    /// A failure that the database did not report as an error.
    Text(&'static str),
    Name(String),
}

/// What a step was waiting for when it timed out.
#[derive(Clone, Copy, Debug)]
pub enum TimedOut {
    /// The end of another transaction.
    Lock,
    /// The database's reply.
    Reply,
}

/// The kinds of [`EventLogError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventLogErrorKind {
    /// Another transaction held the event's lock, or SQLite's only write lock, for longer than
    /// [`lock_timeout`](crate::EventLog::lock_timeout).
    LockTimeout,
    /// The pool timed out before a connection became free, or it is closed. The pool also times out
    /// if it cannot connect, because it keeps trying until its `acquire_timeout` expires.
    PoolExhausted,
    /// The transaction conflicted with another one that committed first: a serialization failure, a
    /// deadlock, or, on SQLite, a write after a read in a deferred transaction. The crate retries
    /// its own transactions, so this is usually one of yours.
    Conflict,
    /// The database does not reply, is shutting down, has become a read-only replica, or has ended
    /// the connection.
    Unavailable,
    /// The disk or the database file is full.
    StorageFull,
    /// The table is missing: [`migrate`](crate::EventLog::migrate) was not called, or was called
    /// with another name.
    NotMigrated,
    /// The schema or table name is invalid.
    InvalidName,
    /// The transaction is unusable. Either SQLite has already rolled it back, for example because
    /// the disk was full, or it is nested in another transaction, which
    /// [`record`](crate::EventLog::record) does not support on SQLite.
    NoTransaction,
    /// The encoding of the Postgres database cannot store all text. It must be `UTF8`.
    Encoding,
    /// The SQLite database is not in a file, and the pool does not keep a single connection. Each
    /// connection has its own database, which ends with it.
    InMemory,
    /// A prepared statement is missing or belongs to another connection. A connection pooler in
    /// transaction mode must support prepared statements, as PgBouncer 1.21 or newer does with
    /// `max_prepared_statements` greater than 0.
    PreparedStatements,
    /// One of your triggers on the table made the database skip the event's row without an error.
    Skipped,
    /// Any other error from the database or its driver.
    Other,
}

impl EventLogErrorKind {
    /// Returns the name of the kind, in snake case, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LockTimeout => "lock_timeout",
            Self::PoolExhausted => "pool_exhausted",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::NotMigrated => "not_migrated",
            Self::InvalidName => "invalid_name",
            Self::NoTransaction => "no_transaction",
            Self::Encoding => "encoding",
            Self::InMemory => "in_memory",
            Self::PreparedStatements => "prepared_statements",
            Self::Skipped => "skipped",
            Self::Other => "other",
        }
    }
}

impl EventLogError {
    /// Returns whether a single change may have caused its whole batch to fail.
    pub(crate) fn may_be_one_change(&self) -> bool {
        match &self.reason {
            Reason::TimedOut(_) => false,
            Reason::Sqlx(_) => self.is_of_database(),
            Reason::Text(_) | Reason::Name(_) => true,
        }
    }

    /// Returns whether the database rejected a statement.
    pub(crate) fn is_of_database(&self) -> bool {
        matches!(&self.reason, Reason::Sqlx(error) if error.as_database_error().is_some())
    }

    /// Returns whether the transaction can be repeated. See [`is_conflict`].
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(&self.reason, Reason::Sqlx(error) if is_conflict(error))
    }

    pub(crate) fn invalid_name(name: &str) -> Self {
        Self {
            kind: EventLogErrorKind::InvalidName,
            reason: Reason::Name(name.to_owned()),
            is_logged: false,
        }
    }

    pub(crate) fn timed_out(waiting_for: TimedOut, after: Duration) -> Self {
        let kind = match waiting_for {
            TimedOut::Lock => EventLogErrorKind::LockTimeout,
            TimedOut::Reply => EventLogErrorKind::Unavailable,
        };
        Self {
            kind,
            reason: Reason::TimedOut(after),
            is_logged: false,
        }
    }

    /// Returns the error for an event that is not a duplicate, but whose row was not written.
    pub(crate) const fn skipped() -> Self {
        Self::new(
            EventLogErrorKind::Skipped,
            "database skipped the row of the event without an error: look for a trigger on the table \
             of the event log that drops rows",
        )
    }

    pub(crate) const fn new(kind: EventLogErrorKind, text: &'static str) -> Self {
        Self {
            kind,
            reason: Reason::Text(text),
            is_logged: false,
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> EventLogErrorKind {
        self.kind
    }
}

impl EventLogError {
    pub(crate) fn kind_of(error: &sqlx::Error) -> EventLogErrorKind {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => EventLogErrorKind::PoolExhausted,
            sqlx::Error::InvalidSavePointStatement => EventLogErrorKind::NoTransaction,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => EventLogErrorKind::Unavailable,
            sqlx::Error::Database(error) => of_database(&**error),
            _ => EventLogErrorKind::Other,
        }
    }
}

/// Returns whether Postgres rolled the transaction back because of another one, so that it can be
/// retried immediately.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    // serialization_failure and deadlock_detected.
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == "40001" || code == "40P01")
}

/// Returns whether the connection's settings or state may be the cause, so that another connection
/// may succeed.
pub(crate) fn may_be_the_connection(error: &sqlx::Error) -> bool {
    const QUERY_CANCELED: &str = "57014";

    let database = error.as_database_error();
    let code = database.and_then(DatabaseError::code);
    let kind = EventLogError::kind_of(error);
    // A canceled query may be due to the session's `statement_timeout`.
    code.is_some_and(|code| code == QUERY_CANCELED)
        || database.is_none_or(|error| error.kind() == ErrorKind::Other)
            && !matches!(
                kind,
                EventLogErrorKind::Conflict
                    | EventLogErrorKind::LockTimeout
                    | EventLogErrorKind::PoolExhausted
                    | EventLogErrorKind::StorageFull
            )
}

impl From<sqlx::Error> for EventLogError {
    fn from(error: sqlx::Error) -> Self {
        Self {
            kind: Self::kind_of(&error),
            reason: Reason::Sqlx(Arc::new(error)),
            is_logged: false,
        }
    }
}

fn of_database(error: &dyn DatabaseError) -> EventLogErrorKind {
    let code = error.code().unwrap_or_default();
    // A five-character code is an SQLSTATE, because SQLite's codes are shorter.
    match (code.len(), code.parse::<u32>()) {
        (5, _) => of_sqlstate(&code, error.message()),
        (_, Ok(code)) => of_sqlite(code, error.message()),
        _ => EventLogErrorKind::Other,
    }
}

/// Postgres error codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_sqlstate(code: &str, message: &str) -> EventLogErrorKind {
    match code {
        // lock_not_available, and query_canceled by a `statement_timeout`.
        "55P03" | "57014" => EventLogErrorKind::LockTimeout,
        // too_many_connections.
        "53300" => EventLogErrorKind::Unavailable,
        "53100" => EventLogErrorKind::StorageFull,
        // undefined_table and invalid_schema_name.
        "42P01" | "3F000" => EventLogErrorKind::NotMigrated,
        // invalid_sql_statement_name and duplicate_prepared_statement.
        "26000" | "42P05" => EventLogErrorKind::PreparedStatements,
        // The server ended a transaction that was idle or open for too long.
        "25P03" | "25P04" => EventLogErrorKind::Unavailable,
        // read_only_sql_transaction: after a failover, the server behind an open connection may be
        // a replica.
        "25006" => EventLogErrorKind::Unavailable,
        // feature_not_supported: a replica cannot begin a transaction that writes.
        "0A000" if message.ends_with("during recovery") => EventLogErrorKind::Unavailable,
        // transaction_rollback, connection_exception, operator_intervention (a shutdown).
        _ if code.starts_with("40") => EventLogErrorKind::Conflict,
        _ if code.starts_with("08") || code.starts_with("57P") => EventLogErrorKind::Unavailable,
        _ => EventLogErrorKind::Other,
    }
}

/// SQLite's extended result codes: <https://www.sqlite.org/rescode.html>.
fn of_sqlite(code: u32, message: &str) -> EventLogErrorKind {
    const BUSY_SNAPSHOT: u32 = 517;
    const IOERR_WRITE: u32 = 778;
    const IOERR_SHMSIZE: u32 = 4874;

    match code {
        BUSY_SNAPSHOT => EventLogErrorKind::Conflict,
        // SQLite returns these codes if the file system is full when it writes or grows its shared
        // memory.
        IOERR_WRITE | IOERR_SHMSIZE => EventLogErrorKind::StorageFull,
        // The low byte of an extended code is the primary code.
        _ => match code & 0xFF {
            5 | 6 => EventLogErrorKind::LockTimeout,
            13 => EventLogErrorKind::StorageFull,
            // Interrupted, I/O error, cannot open, or no longer a database.
            9 | 10 | 14 | 26 => EventLogErrorKind::Unavailable,
            1 if message.starts_with("no such table") => EventLogErrorKind::NotMigrated,
            _ => EventLogErrorKind::Other,
        },
    }
}

impl fmt::Display for EventLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Name(name) => write!(
                f,
                "{name:?} is not a valid name: use up to 48 ASCII letters, digits and underscores, \
                 and no digit first"
            ),
            Reason::Text(text) => f.write_str(text),
            Reason::TimedOut(after) => match self.kind {
                EventLogErrorKind::LockTimeout => {
                    write!(
                        f,
                        "timed out waiting for another transaction after {after:?}"
                    )
                }
                _ => write!(f, "database did not reply within {after:?}"),
            },
            Reason::Sqlx(_) => f.write_str(match self.kind {
                EventLogErrorKind::LockTimeout => "timed out waiting for another transaction",
                EventLogErrorKind::PoolExhausted => "pool has no free connection",
                EventLogErrorKind::Conflict => "transaction conflicts with another one",
                EventLogErrorKind::Unavailable => "database is not available",
                EventLogErrorKind::StorageFull => "database has no space left",
                EventLogErrorKind::NotMigrated => {
                    "table does not exist: call `EventLog::migrate` first if it is the table of the event log"
                }
                EventLogErrorKind::PreparedStatements => {
                    "prepared statement is missing or belongs to another connection: a pooler in \
                     transaction mode must support them (PgBouncer 1.21 or newer with \
                     `max_prepared_statements` greater than 0), or use session mode"
                }
                _ => "database failed",
            }),
        }
    }
}

impl error::Error for EventLogError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.reason {
            Reason::Sqlx(error) => Some(&**error),
            _ => None,
        }
    }
}

/// Responds as an `IdempotencyLayer` does if its store fails: with 503 and `Retry-After`, so that
/// SoundHash sends the event again.
impl IntoResponse for EventLogError {
    fn into_response(self) -> Response {
        if !self.is_logged {
            telemetry::handler_failed(&self);
        }
        let mut response = Outcome::store_unavailable(self.clone()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
