//! Detects a worker that has stopped handling jobs, even though `graphile_worker` reports no error.
//!
//! `docs/upstream.md` explains how this can happen. For example, a query in progress never ends if
//! the database's machine vanishes.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use sqlx::PgPool;
use tokio::time::{sleep, timeout};

use crate::inbox::EventJob;

const PAUSE: Duration = Duration::from_secs(10);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Selects whether a job is waiting although the worker ($1) could run it. Either the worker has
/// locked the job without running it ($2 contains the ids of its running jobs), or it has a free
/// slot and has not started a job since the last check ($3).
///
/// A healthy worker starts or returns a job within seconds of locking it.
const JOB_WAITS: &str = "
    SELECT EXISTS (
        SELECT 1 FROM graphile_worker._private_jobs
        WHERE locked_by = $1 AND locked_at < now() - interval '30 s' AND id <> ALL ($2)
    ) OR $3 AND EXISTS (
        SELECT 1 FROM graphile_worker._private_jobs
        WHERE is_available AND run_at < now() - interval '30 s' AND task_id = (
            SELECT id FROM graphile_worker._private_tasks WHERE identifier = $4)
    )";

/// Keeps track of the jobs that a worker is running.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The worker's id, which is set once the worker has started.
    pub(crate) worker: Arc<OnceLock<String>>,
    jobs: Arc<Mutex<Jobs>>,
}

#[derive(Debug, Default)]
struct Jobs {
    running: HashSet<i64>,
    /// The number of jobs started since the last check.
    started: usize,
}

/// A guard for a running job. Dropping it records that the job has ended.
pub(crate) struct Running<'a>(&'a Watch, i64);

impl Watch {
    pub(crate) fn start(&self, job: i64) -> Running<'_> {
        let mut jobs = self.jobs();
        jobs.running.insert(job);
        jobs.started += 1;
        Running(self, job)
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once two checks in a row have found a waiting job that the worker, which can run
    /// `slots` jobs at a time, could run.
    pub(crate) async fn stalled(&self, pool: &PgPool, slots: usize) {
        let mut failed = 0;
        while failed < 2 {
            sleep(PAUSE).await;
            let (running, is_idle) = {
                let mut jobs = self.jobs();
                let running: Vec<i64> = jobs.running.iter().copied().collect();
                let is_idle = mem::take(&mut jobs.started) == 0 && running.len() < slots;
                (running, is_idle)
            };
            let waits = sqlx::query_scalar(JOB_WAITS)
                .bind(self.worker.get())
                .bind(running)
                .bind(is_idle)
                .bind(EventJob::NAME)
                .fetch_one(pool);
            // If the database does not reply, the worker is not to blame.
            failed = match timeout(QUERY_TIMEOUT, waits).await {
                Ok(Ok(true)) => failed + 1,
                _ => 0,
            };
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.jobs().running.remove(&self.1);
    }
}
