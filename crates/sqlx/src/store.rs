//! An idempotency store in an event log's table.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use soundhash_webhook::{
    BoxError,
    idempotency::{Claim, ClaimToken, IdempotencyStore, Key},
};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

use crate::{
    backend::{Backend, Value},
    connection,
    error::{EventLogError, TimedOut},
    event::span_micros,
    log::EventLog,
};

/// An [`IdempotencyStore`] in the table of an [`EventLog`], for handlers whose effects are outside
/// the database.
///
/// If the effects are rows in the same database, use [`EventLog::record`] instead. It commits the
/// effects and the record together, so a process cannot die in between.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn store() -> Result<(), Box<dyn std::error::Error>> {
/// use soundhash_webhook::idempotency::IdempotencyLayer;
/// use soundhash_webhook_sqlx::{EventLog, SqlxStore};
/// use sqlx::PgPool;
///
/// let log = EventLog::new(PgPool::connect("postgres://localhost/app").await?);
/// log.migrate().await?;
/// let layer = IdempotencyLayer::new(SqlxStore::new(log));
/// # Ok(())
/// # }
/// ```
///
/// You can switch between this store and [`EventLog::record`]. An event that `record` has recorded
/// counts as completed, and an event that this store has completed is a duplicate for `record`. To
/// use both for the same delivery, give the store a log with another [`table`](EventLog::table).
/// Otherwise, an event whose handler fails after it has been recorded does not run again.
///
/// Applications that share a database need different tables. Otherwise, an event that one of them has
/// handled is a duplicate for the other.
///
/// Leases and retention periods are measured by the database's clock. Rows for expired keys remain
/// until [`EventLog::purge`] deletes them. Call `purge` once a day.
pub struct SqlxStore<DB: Backend> {
    log: EventLog<DB>,
    deadline: Duration,
}

impl<DB: Backend> SqlxStore<DB> {
    /// Creates a store in the table of `log`.
    #[must_use]
    pub fn new(log: EventLog<DB>) -> Self {
        Self {
            log,
            deadline: Duration::from_secs(5),
        }
    }

    /// Sets how long each statement may take, including waiting for a connection. The default is
    /// 5 s. Most claims are a single statement, but one that meets others can take several.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, EventLogError>>,
    ) -> Result<T, BoxError> {
        // The step's future is boxed because it is larger than 16 KiB and callers move it.
        match timeout(self.deadline, Box::pin(step)).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(EventLogError::timed_out(TimedOut::Reply, self.deadline).into()),
        }
    }

    /// Runs a statement within the deadline, and returns whether it changed a row.
    async fn change(&self, sql: &Arc<str>, values: Vec<Value<'static>>) -> Result<bool, BoxError> {
        let (log, sql) = (self.log.clone(), sql.clone());
        let changed = async move { log.change(&sql, values).await };
        Ok(self.in_task(changed).await? > 0)
    }

    /// Returns whether the event is in progress.
    async fn is_held(&self, key: &Key) -> Result<bool, BoxError> {
        let (log, values) = (self.log.clone(), vec![Value::key(key)]);
        let held = async move { log.run(DB::fetch, &log.statements.held, &values).await };
        Ok(!self.in_task(held).await?.is_empty())
    }

    /// Runs a statement within the deadline, in a task that continues if the sender hangs up.
    /// Otherwise, the connection would have to be closed.
    async fn in_task<T: Send + 'static>(
        &self,
        statement: impl Future<Output = Result<T, EventLogError>> + Send + 'static,
    ) -> Result<T, BoxError> {
        let store = self.clone();
        tokio::spawn(async move { store.within(statement).await }).await?
    }
}

fn to_value(token: ClaimToken) -> Value<'static> {
    Value::Token(u128::from(token).to_be_bytes())
}

/// Releases the key if the caller is dropped before it receives the token, because the database may
/// still execute the claim.
struct UndoClaim<DB: Backend> {
    log: EventLog<DB>,
    key: Key,
    token: ClaimToken,
    is_armed: bool,
    /// The task that claims the key. `None` if the claim goes through the single writer's queue.
    claim: Option<JoinHandle<Result<u64, EventLogError>>>,
}

impl<DB: Backend> UndoClaim<DB> {
    /// Returns whether the key was claimed. This does not wait for other transactions: a key locked
    /// by another transaction counts as in progress.
    async fn claim(&mut self, lease: Duration) -> Result<bool, EventLogError> {
        let claimed = self.execute(lease).await;
        // A statement that the database rejected has changed nothing.
        self.is_armed = claimed.as_ref().is_err_and(|error| !error.is_of_database());
        Ok(claimed? > 0)
    }

    async fn execute(&mut self, lease: Duration) -> Result<u64, EventLogError> {
        let values = vec![
            Value::key(&self.key),
            to_value(self.token),
            Value::Integer(span_micros(lease)),
        ];
        let sql = Arc::clone(&self.log.statements.claim);
        if DB::ONE_WRITER {
            self.is_armed = true;
            return self.log.change(&sql, values).await;
        }
        // A caller that is dropped before it gets a connection has not claimed anything.
        let connection = self.log.line.acquire().await?;
        self.is_armed = true;
        let log = self.log.clone();
        let claim = self.claim.insert(tokio::spawn(async move {
            let claim = connection::run_on(connection, &log.line, DB::execute, &sql, &values);
            log.in_time(claim).await
        }));
        let claimed = claim.await;
        // The handle of a finished task must not be polled again.
        self.claim = None;
        claimed.map_err(|error| sqlx::Error::Io(error.into()))?
    }
}

impl<DB: Backend> Drop for UndoClaim<DB> {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.is_armed, Handle::try_current()) else {
            return;
        };
        let (log, claim) = (self.log.clone(), self.claim.take());
        let values = vec![Value::key(&self.key), to_value(self.token)];
        runtime.spawn(async move {
            // The release must come after the claim, so this waits for the claim to finish. If it has
            // claimed nothing, there is nothing to release.
            if let Some(claim) = claim
                && let Ok(Ok(0)) = claim.await
            {
                return;
            }
            // If the release fails, the claim expires with its lease.
            let _ = log.change(&log.statements.release, values).await;
        });
    }
}

impl<DB: Backend> SqlxStore<DB> {
    /// Forgets that the event for `key` was completed, so that its next delivery reruns the
    /// handler. Returns whether the key was completed.
    ///
    /// A claimed key stays claimed, because its handler may still be running.
    ///
    /// # Errors
    ///
    /// Returns an error if the key may still be marked as completed.
    pub async fn forget(&self, key: &Key) -> Result<bool, BoxError> {
        let forget = &self.log.statements.forget;
        self.change(forget, vec![Value::key(key)]).await
    }
}

impl<DB: Backend> IdempotencyStore for SqlxStore<DB> {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        let statements = &self.log.statements;
        // The second attempt covers a key that becomes free during the first.
        for _ in 0..2 {
            let mut undo = UndoClaim {
                log: self.log.clone(),
                key: key.clone(),
                token: ClaimToken::generate()?,
                is_armed: false,
                claim: None,
            };
            let is_claimed = self.within(undo.claim(lease)).await?;
            if is_claimed {
                return Ok(Claim::Acquired(undo.token));
            }
            let values = vec![Value::key(key)];
            if self.change(&statements.renew, values).await? {
                return Ok(Claim::Completed);
            }
            if self.is_held(key).await? {
                return Ok(Claim::InProgress);
            }
        }
        Err(EventLogError::skipped().into())
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        let values = vec![
            Value::key(key),
            to_value(token),
            Value::Integer(span_micros(time)),
        ];
        self.change(&self.log.statements.complete, values).await
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        let values = vec![Value::key(key), to_value(token)];
        self.change(&self.log.statements.release, values).await
    }
}

impl<DB: Backend> Clone for SqlxStore<DB> {
    fn clone(&self) -> Self {
        Self {
            log: self.log.clone(),
            deadline: self.deadline,
        }
    }
}

impl<DB: Backend> fmt::Debug for SqlxStore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxStore")
            .field("log", &self.log)
            .field("deadline", &self.deadline)
            .finish()
    }
}
