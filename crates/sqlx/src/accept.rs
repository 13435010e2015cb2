//! Group commit: concurrent deliveries share a single statement and commit.
//!
//! Events that arrive during a commit form the next batch. A batch does not wait for more events.

use std::sync::Arc;

use soundhash_webhook::{Delivery, idempotency::Key};
use sqlx::{AssertSqlSafe, Connection};
use tokio::time::Instant;

use crate::{
    backend::{Backend, Change, Changed, Value},
    connection::{self, CONFLICTS, Closing},
    error::{EventLogError, EventLogErrorKind, is_conflict, may_be_the_connection},
    log::EventLog,
    queue::Running,
    telemetry,
};

/// The number of batches that a writer commits on a connection before it returns the connection to
/// the pool, where other tasks may be waiting for one.
const BATCHES_PER_CONNECTION: usize = 16;

/// The result of [`EventLog::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The event is new, and was committed together with its job.
    New,
    /// An earlier delivery of the event was already committed.
    Duplicate,
}

impl Accepted {
    /// Returns whether the event had already been accepted.
    #[must_use]
    pub const fn is_duplicate(self) -> bool {
        matches!(self, Self::Duplicate)
    }
}

impl<DB: Backend> EventLog<DB> {
    /// Stores and commits the event of `delivery`, together with its job if
    /// [`enqueue`](Self::enqueue) was called.
    ///
    /// Use this in handlers that respond first and work later: store the event, respond with 202,
    /// and do the work in a background task or another process. If the work takes only a few
    /// statements in the same database, use [`record`](Self::record) instead.
    ///
    /// When this returns `Ok`, the event is committed. Concurrent calls share a single statement
    /// and commit, which is several times faster than one transaction per event. A call waits only
    /// for the commit that includes its event. If a commit fails before
    /// [`lock_timeout`](Self::lock_timeout) expires, its events are retried one by one, so that one
    /// failing event does not affect the others.
    ///
    /// If the caller drops the future, the event may or may not be committed. Its next delivery is
    /// then either a duplicate or new.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use axum::{extract::State, http::StatusCode};
    /// use soundhash_webhook::Delivery;
    /// use soundhash_webhook_sqlx::{EventLog, EventLogError};
    /// use sqlx::Sqlite;
    ///
    /// async fn receive(
    ///     State(log): State<EventLog<Sqlite>>,
    ///     delivery: Delivery,
    /// ) -> Result<StatusCode, EventLogError> {
    ///     log.accept(&delivery).await?;
    ///     Ok(StatusCode::ACCEPTED)
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the event may not have been committed. Return the error from the handler,
    /// so that SoundHash sends the event again.
    pub async fn accept(&self, delivery: &Delivery) -> Result<Accepted, EventLogError> {
        // One writer works for all callers, so each caller parses its own event. The writer needs
        // only the envelope. The payload is parsed to notice schema changes, which a handler that
        // works later would not notice.
        let _ = (delivery.event_type(), delivery.event());
        let change = Change::Record(delivery.clone());
        let accepted = async {
            Ok(match self.commit(change).await? {
                Changed::Rows(rows) => rows > 0,
                Changed::Undecided => self.accept_alone(delivery).await?,
            })
        };
        match accepted.await {
            Ok(true) => Ok(Accepted::New),
            Ok(false) => {
                telemetry::duplicate(delivery);
                Ok(Accepted::Duplicate)
            }
            Err(error) => Err(telemetry::failed("accept", Some(delivery), error)),
        }
    }

    /// Sets the statement that writes the jobs for new events, in the same transaction in which
    /// [`accept`](Self::accept) stores the events.
    ///
    /// `sql` reads the new events of a commit from `new_events`, which has the table's columns
    /// `event_key`, `event_type` and `endpoint`. It must be an `INSERT` that returns a row for each
    /// job, or a `SELECT` that calls one of your queue's functions, and must not begin with `WITH`.
    /// If it fails, the events are retried one by one, and [`accept`](Self::accept) returns an
    /// error for every event whose jobs cannot be written.
    ///
    /// If `sql` locks rows in your own tables, it should lock them in a fixed order. Otherwise,
    /// concurrent commits could deadlock.
    ///
    /// The worker that runs a job reads the event with [`get_by_column`](Self::get_by_column).
    ///
    /// ```
    /// # #[cfg(feature = "postgres")]
    /// # fn jobs(log: soundhash_webhook_sqlx::EventLog<sqlx::Postgres>) {
    /// let log = log.enqueue("INSERT INTO jobs (event_key) SELECT event_key FROM new_events RETURNING 1");
    /// # }
    /// ```
    #[must_use]
    pub fn enqueue(mut self, sql: &str) -> Self {
        self.jobs = Some(sql.trim().trim_end_matches(';').into());
        self.rebuild();
        self
    }

    /// Adds the change to the next batch, and waits until the batch is committed.
    pub(crate) async fn commit(&self, change: Change) -> Result<Changed, EventLogError> {
        let (limit, _) = DB::time_limit(self.lock_timeout);
        let (changed, writer) = self.queue.push(change, limit, DB::WRITERS).await?;
        if let Some(writer) = writer {
            tokio::spawn(write(self.clone(), writer));
        }
        changed.await.unwrap_or_else(|_| {
            Err(EventLogError::new(
                EventLogErrorKind::Other,
                "the runtime is shutting down",
            ))
        })
    }

    /// Accepts an event in a separate transaction, because another transaction holds the event's
    /// lock or the event's row is missing.
    async fn accept_alone(&self, delivery: &Delivery) -> Result<bool, EventLogError> {
        let mut conflicts = 0;
        loop {
            match self.try_accept_alone(delivery).await {
                Err(error) if conflicts < CONFLICTS && error.is_conflict() => conflicts += 1,
                done => return done,
            }
        }
    }

    async fn try_accept_alone(&self, delivery: &Delivery) -> Result<bool, EventLogError> {
        let mut tx = self
            .begin_with(&self.statements.begin_read_committed)
            .await?;
        let is_new = self.insert(&mut tx, delivery).await?;
        if is_new {
            let key = [Value::key(&Key::from(delivery))];
            DB::write_jobs(&mut tx, &self.statements, &key).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// Commits the waiting changes, up to the batch limits, and replies to the callers. Returns the
    /// connection for the next batch.
    async fn write_batch(&self, kept: Option<Closing<DB>>) -> Option<Closing<DB>> {
        // Changes whose callers have given up by the time a connection is available are not
        // written.
        let connection = self.connection(kept).await;
        let batch = self.queue.next_batch();
        let changes: Vec<&Change> = batch.iter().map(|it| &it.change).collect();
        if changes.is_empty() {
            return None;
        }
        let (start, (limit, _)) = (Instant::now(), DB::time_limit(self.lock_timeout));
        let written = self.in_time(async { self.write(connection?, &changes).await });
        let error = match written.await {
            Ok((all, connection)) => {
                for (waiting, changed) in batch.into_iter().zip(all) {
                    waiting.reply(Ok(changed));
                }
                return Some(connection);
            }
            Err(error) => error,
        };
        let one_by_one = batch.len() > 1 && error.may_be_one_change();
        for waiting in batch {
            let result = match one_by_one && start.elapsed() < limit {
                true => self.write_alone(&waiting.change).await,
                false => Err(error.clone()),
            };
            waiting.reply(result);
        }
        None
    }

    async fn write_alone(&self, change: &Change) -> Result<Changed, EventLogError> {
        let written = self.in_time(async {
            let connection = connection::acquire_idle(&self.line).await?;
            self.write(connection, &[change]).await
        });
        Ok(written.await?.0[0])
    }

    async fn connection(&self, kept: Option<Closing<DB>>) -> Result<Closing<DB>, EventLogError> {
        match kept {
            Some(connection) => Ok(connection),
            None => self.in_time(connection::acquire_idle(&self.line)).await,
        }
    }

    /// Commits either all of the changes or none of them.
    async fn write(
        &self,
        mut connection: Closing<DB>,
        changes: &[&Change],
    ) -> Result<(Vec<Changed>, Closing<DB>), EventLogError> {
        let mut faults = connection::repetitions(&self.line.pool);
        // A batch can run into the same conflict again and again, while its events would not if
        // they were written one by one.
        let most = if changes.len() == 1 { CONFLICTS } else { 1 };
        let mut conflicts = 0;
        loop {
            let one_statement = conflicts == 0 && DB::is_one_statement(&self.statements, changes);
            let written = self
                .try_write(connection.begin(), changes, one_statement)
                .await;
            connection.end();
            let error = match written {
                Ok(all) => return Ok((all?, connection)),
                Err(error) => error,
            };
            if conflicts < most && is_conflict(&error) {
                conflicts += 1;
                continue;
            }
            if !may_be_the_connection(&error) {
                return Err(error.into());
            }
            connection.close();
            // Only if the database rejected the statement is it certain that nothing has changed.
            if faults == 0 || error.as_database_error().is_none() {
                return Err(error.into());
            }
            faults -= 1;
            connection = connection::acquire_idle(&self.line).await?;
        }
    }

    /// Tries to apply and commit the changes. If the outer error came from the database, nothing
    /// has changed, and `write` can try another connection.
    async fn try_write(
        &self,
        connection: &mut DB::Connection,
        changes: &[&Change],
        one_statement: bool,
    ) -> sqlx::Result<Result<Vec<Changed>, EventLogError>> {
        if one_statement {
            // A single statement commits on its own.
            let all = DB::change(connection, &self.statements, changes).await?;
            return Ok(Ok(all));
        }
        let begin = AssertSqlSafe(Arc::clone(&self.statements.begin_read_committed));
        let mut tx = connection.begin_with(begin).await?;
        let all = DB::change(&mut tx, &self.statements, changes).await?;
        Ok(tx.commit().await.map(|()| all).map_err(Into::into))
    }
}

/// Commits batches until the queue is empty.
async fn write<DB: Backend>(log: EventLog<DB>, mut running: Running) {
    let (mut kept, mut batches) = (None, 0);
    while running.has_next() {
        let connection = kept.filter(|_| batches % BATCHES_PER_CONNECTION > 0);
        kept = log.write_batch(connection).await;
        batches += 1;
    }
}
