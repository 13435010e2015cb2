//! The worker, which handles each event in one transaction.

use std::{fmt, future::ready, sync::Arc, time::Duration};

use graphile_worker::{
    IntoTaskHandlerResult, LocalQueueConfig, RefetchDelayConfig, TaskHandler, WorkerContext,
    WorkerOptions, WorkerStart,
};
use soundhash_webhook::BoxError;
use soundhash_webhook_sqlx::RecordedEvent;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    inbox::{EventJob, Inbox, QUEUE_SCHEMA},
    watch::Watch,
};

const CONCURRENCY: usize = 8;

/// The time after which a silent worker is considered dead and other workers take over its jobs.
const DEAD_AFTER: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The number of jobs that a worker fetches at once. Fetching one job at a time would limit a
/// worker to `CONCURRENCY` waiting jobs per poll, which is 8 per second.
const BATCH: usize = 64;

/// The time after which a worker returns fetched jobs that it has not started. If a batch's jobs
/// all finish before `graphile_worker` has noted their arrival, the worker fetches no more jobs
/// until this time has passed. The default of `graphile_worker` is 5 minutes. A worker that stops
/// fetching for any other reason is replaced: see [`Watch`].
const RETURN_AFTER: Duration = Duration::from_secs(2);

/// The maximum pause after a fetch that found no job. A notification ends it. Without the pause, this
/// version of the queue would fetch again immediately.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

/// The error that `graphile_worker` stores for a job whose worker died.
const RECOVERED: &str = "Job recovered after worker interruption";

/// The time for which finished jobs are collected before a single statement deletes them all.
const COMPLETE_PAUSE: Duration = Duration::from_millis(5);

/// The maximum time for a job, including your own work. If the database's machine vanishes, a job's
/// query would otherwise never end.
const JOB_TIMEOUT: Duration = Duration::from_mins(5);

/// The time that running jobs get to finish when the worker stops. It is shorter than the 10 s
/// after which the program exits.
const STOP_TIMEOUT: Duration = Duration::from_secs(9);

/// The maximum time that a worker may take to start.
const START_TIMEOUT: Duration = Duration::from_mins(1);
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The work done for an event before its row is committed. If it returns an error, the transaction
/// is rolled back and the job is retried.
type Work = dyn Fn(&RecordedEvent) -> Result<(), BoxError> + Send + Sync;

/// The context shared by all jobs.
#[derive(Clone)]
struct Tools {
    inbox: Inbox,
    work: Arc<Work>,
    watch: Watch,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

impl TaskHandler for EventJob {
    const IDENTIFIER: &'static str = Self::NAME;

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let tools = context
            .get_ext::<Tools>()
            .ok_or("the worker has no tools")?;
        let (id, attempt) = (*context.job().id(), *context.job().attempts());
        let _running = tools.watch.start(id);
        let is_recovered = context.job().last_error().as_deref() == Some(RECOVERED);
        let acted = timeout(JOB_TIMEOUT, async {
            if is_recovered {
                put_off(tools, id).await?;
            }
            act(tools, &self.key, id).await
        });
        let acted = acted.await;
        let acted = acted.unwrap_or_else(|_| Err("the job took too long".into()));
        acted.map_err(|error| {
            // The log escapes text, but not errors, whose text can quote an event.
            let error = error.to_string();
            warn!(
                key = self.key,
                attempt, error, "not handled, so the job is retried"
            );
            error
        })
    }
}

/// Lets the other jobs go first if this job is recovered once more, because it may be the one that
/// ends its worker.
async fn put_off(tools: &Tools, job: i64) -> Result<(), BoxError> {
    let put_off = "UPDATE graphile_worker._private_jobs SET run_at = now() + interval '1 min'
        WHERE id = $1";
    let put_off = sqlx::query(put_off).bind(job);
    put_off.execute(&tools.inbox.pool).await?;
    Ok(())
}

/// Handles the event. If a worker dies before it marks its job as done, the job runs again and
/// finds the event's row.
async fn act(tools: &Tools, key: &str, job: i64) -> Result<(), BoxError> {
    let inbox = &tools.inbox;
    let event = inbox
        .log
        .get_by_column(key)
        .await?
        .ok_or("the event is not in the log")?;
    let mut tx = inbox.pool.begin().await?;
    let inserted = sqlx::query(
        // If an event was run again, its older job has nothing left to do once the newer one has
        // finished.
        "INSERT INTO acted_events (event_key, job_id, event_type)
         SELECT $1, $2, $3 WHERE NOT EXISTS (
             SELECT 1 FROM acted_events WHERE event_key = $1 AND job_id > $2)
         ON CONFLICT DO NOTHING",
    )
    .bind(key)
    .bind(job)
    .bind(event.summary.event_type.as_deref().map(as_text))
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        info!(key, "already handled");
        return Ok(());
    }
    // Put your own statements here, in the same transaction.
    (tools.work)(&event)?;
    tx.commit().await?;
    info!(key, "handled");
    Ok(())
}

/// Replaces U+0000, which Postgres cannot store in text.
fn as_text(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// Handles events until `stop` is canceled, and returns once the running jobs have finished.
///
/// A worker that loses its database connection exits and is replaced. A worker that no longer
/// handles jobs is replaced, too.
pub async fn run(
    inbox: Inbox,
    work: impl Fn(&RecordedEvent) -> Result<(), BoxError> + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let work: Arc<Work> = Arc::new(work);
    loop {
        let tools = Tools {
            inbox: inbox.clone(),
            work: Arc::clone(&work),
            watch: Watch::default(),
        };
        if let Err(error) = run_worker(tools, stop.clone()).await {
            error!(error, "the worker ended, so another one starts");
        }
        let pause = stop.run_until_cancelled(sleep(RESTART_PAUSE));
        if pause.await.is_none() {
            return;
        }
    }
}

async fn run_worker(tools: Tools, stop: CancellationToken) -> Result<(), BoxError> {
    let (pool, watch) = (tools.inbox.pool.clone(), tools.watch.clone());
    let id = Arc::clone(&watch.worker);
    let worker = WorkerOptions::default()
        .pg_pool(pool.clone())
        .schema(QUEUE_SCHEMA)
        .concurrency(CONCURRENCY)
        // Notifications wake the workers. Polling finds jobs whose notifications were lost.
        .poll_interval(Duration::from_secs(1))
        .local_queue(
            LocalQueueConfig::default()
                .with_size(BATCH)
                .with_ttl(RETURN_AFTER)
                .with_refetch_delay(
                    RefetchDelayConfig::default()
                        .with_duration(IDLE_PAUSE)
                        .with_threshold(0)
                        .with_max_abort_threshold(1),
                ),
        )
        // If the worker dies before a finished job is deleted, the job runs again and finds the
        // event's row.
        .complete_job_batch_delay(COMPLETE_PAUSE)
        .heartbeat_interval(HEARTBEAT)
        .sweep_interval(HEARTBEAT)
        .sweep_threshold(DEAD_AFTER)
        .recovery_delay(Duration::ZERO)
        .listen_os_shutdown_signals(false)
        .shutdown_signal(stop.cancelled_owned())
        .shutdown_grace_period(STOP_TIMEOUT)
        .shutdown_interrupted_job_retry_delay(Duration::ZERO)
        .on(WorkerStart, move |start| {
            id.get_or_init(|| start.worker_id);
            ready(())
        })
        .add_extension(tools)
        .define_job::<EventJob>()
        .init();
    let worker = timeout(START_TIMEOUT, worker).await??;
    // A stalled worker is dropped without waiting for it to end, because it might never end.
    tokio::select! {
        ended = worker.run() => Ok(ended?),
        () = watch.stalled(&pool, CONCURRENCY) => {
            Err("jobs wait, but the worker does not run them".into())
        }
    }
}
