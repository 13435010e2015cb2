//! The event log: one row per event, written in the same transaction as the event's effects.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use soundhash_webhook::{Delivery, Timestamp, idempotency::Key};
use sqlx::{Pool, Transaction};
use tokio::time::timeout;

use crate::{
    backend::{Backend, Change, Changed, Statements, Value, recorded},
    body::unpack,
    connection::{self, HANGING, Line, Step},
    error::{EventLogError, TimedOut},
    event::{EventFilter, EventSummary, RecordedEvent, from_micros, to_micros},
    migrate::migrate,
    name::TableName,
    queue::Queue,
    telemetry,
    text::{escape, unescape},
};

/// The number of rows that [`EventLog::purge`] deletes per transaction. On SQLite, other writers
/// wait while such a transaction runs.
const PURGE_BATCH: u32 = 2_000;

/// Records each event in the same transaction as its effects, and keeps its body, which SoundHash
/// drops after its last retry.
///
/// `DB` is `sqlx::Postgres` or `sqlx::Sqlite`. Cloning is cheap.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// use soundhash_webhook_sqlx::EventLog;
/// use sqlx::sqlite::SqlitePoolOptions;
///
/// let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite:events.db?mode=rwc").await?;
/// let log = EventLog::new(pool);
/// log.migrate().await?;
/// # Ok(())
/// # }
/// ```
pub struct EventLog<DB: Backend> {
    pub(crate) line: Line<DB>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) lock_timeout: Duration,
    /// The changes waiting for the next commit. Clones with the same settings share the queue.
    pub(crate) queue: Arc<Queue>,
    /// The statement that writes the jobs for new events.
    pub(crate) jobs: Option<Arc<str>>,
    name: TableName,
}

/// The result of [`EventLog::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a duplicate must not be handled again"]
pub enum Recorded {
    /// The event is new, and is recorded when the transaction commits.
    New,
    /// A committed transaction has already recorded the event.
    Duplicate,
}

impl Recorded {
    /// Returns whether the event had already been recorded.
    #[must_use]
    pub const fn is_duplicate(self) -> bool {
        matches!(self, Self::Duplicate)
    }
}

impl<DB: Backend> EventLog<DB> {
    /// Creates a log that uses the table `soundhash_events` of this database.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        telemetry::count(0);
        let name = TableName::default();
        Self {
            line: Line::new(pool),
            statements: Arc::new(Statements::new::<DB>(&name, None)),
            lock_timeout: Duration::from_secs(5),
            queue: Arc::default(),
            jobs: None,
            name,
        }
    }

    /// Sets the table's schema. By default, Postgres looks the table up in the `search_path`. On
    /// SQLite, the schema is the name of an attached database, which must then contain the tables of
    /// your handler, too: see [SQLite](crate#sqlite).
    ///
    /// # Errors
    ///
    /// Returns [`InvalidName`](crate::EventLogErrorKind::InvalidName) unless `name` consists of up
    /// to 48 ASCII letters, digits and underscores and does not start with a digit. Names are
    /// case-sensitive, except in SQLite.
    pub fn schema(mut self, name: &str) -> Result<Self, EventLogError> {
        self.name.set_schema(name)?;
        self.rebuild();
        Ok(self)
    }

    /// Sets the table name. The default is `soundhash_events`.
    ///
    /// If several handlers each have to handle every event, give each handler a log with its own
    /// table.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`schema`](Self::schema).
    pub fn table(mut self, name: &str) -> Result<Self, EventLogError> {
        self.name.set_table(name)?;
        self.rebuild();
        Ok(self)
    }

    /// Rebuilds the statements from the table name and the job statement.
    pub(crate) fn rebuild(&mut self) {
        self.statements = Arc::new(Statements::new::<DB>(&self.name, self.jobs.as_deref()));
        self.queue = Arc::default();
    }

    /// Sets how long [`record`](Self::record) waits for a concurrent transaction. The default is
    /// 5 s.
    ///
    /// SoundHash waits 30 s for a response. On SQLite, the wait ends sooner if the connection's
    /// `busy_timeout` is shorter, and values below 100 ms count as 100 ms.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self.queue = Arc::default();
        self
    }

    /// Creates the table, or migrates it to this version of the crate.
    ///
    /// Any number of processes can call this at the same time, and on every start. This also
    /// succeeds if only the migrations table was lost or emptied. A table created by a later
    /// version of this crate stays unchanged, because later versions only add to it. If the table
    /// is up to date, the database user does not need permission to create tables.
    ///
    /// # Errors
    ///
    /// Returns [`Encoding`](crate::EventLogErrorKind::Encoding) if the encoding of a Postgres
    /// database is not `UTF8`, [`PreparedStatements`](crate::EventLogErrorKind::PreparedStatements)
    /// if a connection pooler in front of Postgres mixes up its clients' statements,
    /// [`InMemory`](crate::EventLogErrorKind::InMemory) if an SQLite database is not in a file and
    /// the pool has more than one connection,
    /// [`LockTimeout`](crate::EventLogErrorKind::LockTimeout) if a table of Postgres has to be changed
    /// but is in use for more than 5 s, or another error if the database fails. In all of these cases,
    /// the table is unchanged.
    pub async fn migrate(&self) -> Result<(), EventLogError> {
        migrate(&self.line.pool, &self.name)
            .await
            .map_err(|error| telemetry::failed("migrate", None, error))
    }

    /// Begins a transaction for [`record`](Self::record).
    ///
    /// A pooled connection that cannot write to the table is replaced. On Postgres, the transaction
    /// takes a `ROW EXCLUSIVE` lock on the table.
    ///
    /// On SQLite, this is `BEGIN IMMEDIATE`, which waits up to [`lock_timeout`](Self::lock_timeout)
    /// for the write lock. A deferred transaction (`pool.begin()`) that reads before it records can
    /// fail with [`Conflict`](crate::EventLogErrorKind::Conflict) without waiting.
    ///
    /// # Errors
    ///
    /// Returns an error if the pool times out or the database fails.
    pub async fn begin(&self) -> Result<Transaction<'static, DB>, EventLogError> {
        self.begin_with(&self.statements.begin)
            .await
            .map_err(|error| telemetry::failed("begin", None, error))
    }

    pub(crate) async fn begin_with(
        &self,
        sql: &Arc<str>,
    ) -> Result<Transaction<'static, DB>, EventLogError> {
        let begun = async {
            let connection = self.line.acquire().await?;
            // This task continues if the client hangs up.
            let (pool, sql) = (self.line.pool.clone(), Arc::clone(sql));
            let begin = async move { connection::begin(connection, &pool, &sql).await };
            tokio::spawn(begin).await.map_err(io::Error::from)?
        };
        self.in_time(begun).await
    }

    /// Limits how long a step that waits for other transactions may take.
    pub(crate) async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, impl Into<EventLogError>>>,
    ) -> Result<T, EventLogError> {
        let (limit, late) = DB::time_limit(self.lock_timeout);
        match timeout(limit, step).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(EventLogError::timed_out(late, limit)),
        }
    }

    /// Records the event of `delivery` in the transaction `tx`, unless it has already been
    /// recorded.
    ///
    /// When the caller commits, the record becomes visible together with the transaction's other
    /// changes. If a concurrent transaction has recorded the same event and has not ended yet, this
    /// waits for it. The event is a duplicate if that transaction commits, and new if it rolls
    /// back.
    ///
    /// Call this first in the transaction, so that no work is done for duplicates. On SQLite, `tx`
    /// must not be nested in another transaction.
    ///
    /// # Errors
    ///
    /// Returns [`LockTimeout`](crate::EventLogErrorKind::LockTimeout) after
    /// [`lock_timeout`](Self::lock_timeout), or another error if the database fails. The
    /// transaction cannot be used after an error. Drop it and respond with 503. Returning the error
    /// from the handler does both.
    pub async fn record(
        &self,
        tx: &mut Transaction<'_, DB>,
        delivery: &Delivery,
    ) -> Result<Recorded, EventLogError> {
        match self.insert(tx, delivery).await {
            Ok(true) => Ok(Recorded::New),
            Ok(false) => {
                telemetry::duplicate(delivery);
                Ok(Recorded::Duplicate)
            }
            Err(error) => Err(telemetry::failed("record", Some(delivery), error)),
        }
    }

    /// Records the event of `delivery`, and returns whether it is new.
    pub(crate) async fn insert(
        &self,
        tx: &mut Transaction<'_, DB>,
        delivery: &Delivery,
    ) -> Result<bool, EventLogError> {
        let values = recorded(delivery);
        let recording = DB::record(
            tx,
            &self.line.pool,
            &self.statements,
            &values,
            self.lock_timeout,
        );
        self.in_time(recording).await
    }

    /// Runs a statement and returns the number of rows it changed.
    pub(crate) async fn change(
        &self,
        sql: &Arc<str>,
        values: Vec<Value<'static>>,
    ) -> Result<u64, EventLogError> {
        if DB::ONE_WRITER {
            return match self
                .commit(Change::Execute(Arc::clone(sql), values))
                .await?
            {
                Changed::Rows(rows) => Ok(rows),
                Changed::Undecided => Ok(0),
            };
        }
        self.run(DB::execute, sql, &values).await
    }

    pub(crate) async fn run<T>(
        &self,
        step: Step<DB, T>,
        sql: &Arc<str>,
        values: &[Value<'_>],
    ) -> Result<T, EventLogError> {
        let run = async {
            let connection = self.line.acquire().await?;
            connection::run_on(connection, &self.line, step, sql, values).await
        };
        match timeout(HANGING, run).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(EventLogError::timed_out(TimedOut::Reply, HANGING)),
        }
    }

    /// Lists recorded events without their bodies, latest first.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn list(&self, filter: &EventFilter) -> Result<Vec<EventSummary>, EventLogError> {
        let (before, key) = &filter.before;
        let values = [
            Value::OptionalText(filter.event_type.as_deref().map(escape)),
            Value::OptionalText(filter.endpoint.as_deref().map(escape)),
            Value::Integer(to_micros(filter.since)),
            Value::Integer(to_micros(*before)),
            Value::Text(escape(key)),
            Value::Integer(filter.limit.into()),
            Value::Integer(filter.forgotten.into()),
        ];
        let rows = self.run(DB::fetch, &self.statements.list, &values).await?;
        Ok(rows
            .iter()
            .map(summary::<DB>)
            .collect::<sqlx::Result<_>>()?)
    }

    /// Returns the event with its body, or `None` if it was not recorded or was purged.
    ///
    /// The table stores bodies of 2,048 bytes or more as LZ4 blocks if that makes them shorter. The
    /// `uncompressed_len` column then contains the length of the body. Otherwise, it is `NULL`.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn get(&self, key: &Key) -> Result<Option<RecordedEvent>, EventLogError> {
        self.get_by_column(&escape(key.as_str())).await
    }

    /// Like [`get`](Self::get), but takes the value of the `event_key` column, as stored by a job
    /// from [`enqueue`](Self::enqueue).
    ///
    /// The column contains the text of the [`Key`], with backslashes and U+0000 escaped, because
    /// Postgres cannot store U+0000.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn get_by_column(
        &self,
        event_key: &str,
    ) -> Result<Option<RecordedEvent>, EventLogError> {
        let values = [Value::Text(event_key.into())];
        let rows = self.run(DB::fetch, &self.statements.get, &values).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(RecordedEvent {
            summary: summary::<DB>(row)?,
            body: unpack(DB::bytes(row, 7)?, DB::integer(row, 8)?)?.into(),
        }))
    }

    /// Forgets the event, so that its next delivery counts as new. Returns whether the event had
    /// been recorded or completed.
    ///
    /// The body and the time of receipt are kept. To run the event again, sign the body from
    /// [`get`](Self::get) with your secret, and send it to your own endpoint. If the process stops
    /// in between, or the handler fails, the event stays forgotten, and [`EventFilter::forgotten`]
    /// selects it. The command `soundhash-webhook events run-again` does all of this.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn forget(&self, key: &Key) -> Result<bool, EventLogError> {
        let values = vec![Value::key(key)];
        Ok(self.change(&self.statements.forget, values).await? > 0)
    }

    /// Deletes the events recorded before `time`, plus all expired claims of a
    /// [`SqlxStore`](crate::SqlxStore). Returns the number of deleted rows.
    ///
    /// An event whose row has been deleted counts as new if it is delivered again. SoundHash's
    /// retry job can redeliver an event days later, and an attacker who has captured a delivery can
    /// replay it forever. Keep rows for longer than your
    /// [`max_age`](soundhash_webhook::idempotency::IdempotencyLayer::max_age), or for 30 days if
    /// you do not set one. Events that are marked to run again are deleted, too, along with their
    /// bodies.
    ///
    /// Rows are deleted in batches of 2,000, with one transaction per batch. Several processes can
    /// purge at the same time.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails. Batches deleted before the error stay deleted.
    pub async fn purge(&self, time: SystemTime) -> Result<u64, EventLogError> {
        let records = vec![
            Value::Integer(to_micros(time)),
            Value::Integer(PURGE_BATCH.into()),
        ];
        let claims = vec![Value::Integer(PURGE_BATCH.into())];
        let mut all = 0;
        for (sql, values, least) in [
            (&self.statements.purge_records, records, 1),
            // More claims expire meanwhile, so an incomplete batch is the last one.
            (&self.statements.purge_claims, claims, PURGE_BATCH.into()),
        ] {
            loop {
                let deleted = self.change(sql, values.clone()).await?;
                all += deleted;
                if deleted < least {
                    break;
                }
            }
        }
        Ok(all)
    }
}

/// Reads an event's summary from the first columns of a row. Every query returns these columns in
/// the same order.
fn summary<DB: Backend>(row: &DB::Row) -> sqlx::Result<EventSummary> {
    let text = |column| DB::text(row, column).map(|text| text.map(unescape));
    let integer = |column| DB::integer(row, column);
    let created_at = integer(3)?.map(from_micros);
    let body_len = integer(5)?.unwrap_or_default();
    Ok(EventSummary {
        key: Key::new(&text(0)?.unwrap_or_default()),
        event_type: text(1)?,
        endpoint: text(2)?,
        created_at: created_at.and_then(|time| Timestamp::try_from(time).ok()),
        received_at: from_micros(integer(4)?.unwrap_or_default()),
        body_len: u64::try_from(body_len).unwrap_or_default(),
        is_forgotten: integer(6)? == Some(0),
    })
}

impl<DB: Backend> Clone for EventLog<DB> {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            statements: Arc::clone(&self.statements),
            lock_timeout: self.lock_timeout,
            queue: Arc::clone(&self.queue),
            jobs: self.jobs.clone(),
            name: self.name.clone(),
        }
    }
}

/// Omits the pool and its connection options.
impl<DB: Backend> fmt::Debug for EventLog<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog")
            .field("table", &self.name.table().to_string())
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}
