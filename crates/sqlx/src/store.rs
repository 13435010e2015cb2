//! An idempotency store in the table of an event log.

use std::{fmt, future::Future, time::Duration};

use soundhash_webhook::{
    BoxError,
    idempotency::{Claim, ClaimToken, IdempotencyStore, Key},
};
use tokio::time::timeout;

use crate::{
    backend::{self, Backend, Late, Value},
    error::EventLogError,
    event::span_micros,
    log::EventLog,
    text::escape,
};

/// An [`IdempotencyStore`] in the table of an [`EventLog`], for handlers whose effects are
/// outside of the database.
///
/// If the effects are rows of the same database, use [`EventLog::record`] instead. It commits the
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
/// You can change from this store to [`EventLog::record`] and back. An event that `record` has
/// recorded counts as completed, and an event that this store has completed is a duplicate for
/// `record`.
///
/// Leases and retentions are measured with the clock of the database. Rows of expired keys stay
/// until [`EventLog::purge`] deletes them. Call it every day.
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

    /// Sets how long each step may take, including the wait for a connection. The default is 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, BoxError> {
        match timeout(self.deadline, step).await {
            Ok(done) => Ok(done.map_err(EventLogError::from)?),
            Err(_) => Err(EventLogError::late(Late::Reply, self.deadline).into()),
        }
    }

    async fn try_claim(
        &self,
        key: &Key,
        token: ClaimToken,
        lease: Duration,
    ) -> sqlx::Result<Claim> {
        let statements = &self.log.statements;
        let mut connection = self.log.pool.acquire().await?;
        let values = [
            Value::Text(escape(key.as_str())),
            Value::Bytes(&to_bytes(token)),
            Value::Integer(span_micros(lease)),
        ];
        let claimed = DB::fetch(&mut connection, &statements.claim, &values).await?;
        if !claimed.is_empty() {
            return Ok(Claim::Acquired(token));
        }
        // The key is held, or another process has just claimed it.
        let completed = DB::fetch(&mut connection, &statements.renew, &values[..1]).await?;
        Ok(match completed.is_empty() {
            true => Claim::InProgress,
            false => Claim::Completed,
        })
    }
}

fn to_bytes(token: ClaimToken) -> [u8; 16] {
    u128::from(token).to_be_bytes()
}

impl<DB: Backend> IdempotencyStore for SqlxStore<DB> {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        self.within(self.try_claim(key, ClaimToken::unique(), lease))
            .await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        let (key, token) = (escape(key.as_str()), to_bytes(token));
        let values = [
            Value::Text(key),
            Value::Bytes(&token),
            Value::Integer(span_micros(time)),
        ];
        let sql = &self.log.statements.complete;
        let changed = self
            .within(backend::execute(&self.log.pool, sql, &values))
            .await?;
        Ok(changed > 0)
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        let (key, token) = (escape(key.as_str()), to_bytes(token));
        let values = [Value::Text(key), Value::Bytes(&token)];
        let sql = &self.log.statements.release;
        let changed = self
            .within(backend::execute(&self.log.pool, sql, &values))
            .await?;
        Ok(changed > 0)
    }

    async fn forget(&self, key: &Key) -> Result<bool, BoxError> {
        let values = [Value::Text(escape(key.as_str()))];
        let sql = &self.log.statements.forget;
        let changed = self
            .within(backend::execute(&self.log.pool, sql, &values))
            .await?;
        Ok(changed > 0)
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
