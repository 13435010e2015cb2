//! Jobs that have failed too often. They are kept until you run them again.

use soundhash_webhook::BoxError;
use sqlx::{AssertSqlSafe, Row};

use crate::inbox::Inbox;

/// Workers find jobs by their task's id. A job whose task is missing, for example after a restore,
/// never runs. It is an event's job if the event is in the log.
///
/// A retry is at most `exp(10)` seconds away, which is 6.2 hours, and a worker locks a job for a few
/// minutes. A job that waits longer, or whose lock lies in the future, got its time from a clock that
/// was wrong.
const GIVEN_UP: &str = "
    (job.task_id = (SELECT soundhash_event_task()) OR NOT EXISTS (
        SELECT FROM graphile_worker._private_tasks WHERE id = job.task_id
    ) AND EXISTS (SELECT FROM soundhash_events WHERE event_key = job.payload->>'key'))
    AND CASE WHEN job.locked_at IS NULL
    THEN job.attempts >= job.max_attempts OR job.run_at > now() + interval '7 hours'
        OR job.task_id <> (SELECT soundhash_event_task())
    ELSE job.locked_at > now() + interval '1 hour' END";

/// A job that is not retried automatically, or not for a long time.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// The event's `event_key` in the log.
    pub key: String,
    /// The number of attempts.
    pub attempts: i16,
    /// The error from the last attempt.
    pub last_error: Option<String>,
}

impl Inbox {
    /// Lists the jobs that were given up on, oldest first.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn given_up(&self) -> Result<Vec<GivenUp>, BoxError> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT job.payload->>'key', job.attempts, job.last_error
             FROM graphile_worker._private_jobs AS job WHERE {GIVEN_UP}
             ORDER BY job.id"
        )))
        .fetch_all(&self.pool)
        .await?;
        let given_up = rows.iter().map(|row| {
            Ok(GivenUp {
                key: row.try_get(0)?,
                attempts: row.try_get(1)?,
                last_error: row.try_get(2)?,
            })
        });
        given_up.collect()
    }

    /// Resets the attempts of all jobs that were given up on, so that they run again. Returns the
    /// number of these jobs.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails.
    pub async fn run_again(&self) -> Result<u64, BoxError> {
        let changed = sqlx::query(AssertSqlSafe(format!(
            "UPDATE graphile_worker._private_jobs AS job
             SET attempts = 0, run_at = now(), updated_at = now(),
                 locked_at = NULL, locked_by = NULL, task_id = (SELECT soundhash_event_task())
             WHERE {GIVEN_UP}"
        )))
        .execute(&self.pool)
        .await?;
        Ok(changed.rows_affected())
    }
}
