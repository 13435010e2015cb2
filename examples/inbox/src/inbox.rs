//! The tables of the inbox, and the statement that stores an event together with its job.

use std::{error::Error, io, iter, sync::Arc, time::Duration};

use graphile_worker::{DbError, WorkerUtils};
use serde::{Deserialize, Serialize};
use soundhash_webhook::{BoxError, Delivery};
use soundhash_webhook_sqlx::{Accepted, EventLog, EventLogError};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// The environment variable with the database URL.
const DATABASE: &str = "SOUNDHASH_WEBHOOK_DATABASE";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of each session. If a worker's machine vanishes, Postgres ends that worker's
/// sessions after 25 s. Until then, other workers' jobs that need its locks fail instead of
/// waiting.
const SESSION: &str = "
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '25s';
    SET lock_timeout = '20s'";

/// The schema of the queue's own tables.
pub(crate) const QUEUE_SCHEMA: &str = "graphile_worker";

/// The maximum number of connections per process, low enough for four processes to share a Postgres
/// server with default settings.
const MAX_CONNECTIONS: u32 = 20;

/// A job, which refers to its event by key. The event itself is in the log, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventJob {
    /// The event's `event_key` in the log.
    pub key: String,
}

impl EventJob {
    /// The name of the queue's task. If you change it, workers will not find existing jobs.
    pub const NAME: &str = "soundhash_event";
}

/// The accepted events, and the jobs for events that have not been handled yet.
#[derive(Clone, Debug)]
pub struct Inbox {
    pub(crate) pool: PgPool,
    pub(crate) log: EventLog<Postgres>,
    /// Notifies the task that wakes the workers.
    new_jobs: Arc<Notify>,
}

impl Inbox {
    /// Connects to the database, and creates the tables.
    ///
    /// # Errors
    ///
    /// Returns an error if `url` is invalid, the database is unavailable, or the tables cannot be
    /// created. The error includes the database's address, but not its password.
    pub async fn open(url: &str) -> Result<Self, BoxError> {
        let database = parse(url)?;
        let opened = try_open(&database).await;
        opened.map_err(|error| explain(&database, &error).into())
    }

    /// Like [`open`](Self::open), but waits until the database is available.
    ///
    /// # Errors
    ///
    /// Returns an error if retrying would not help.
    pub async fn open_when_available(url: &str) -> Result<Self, BoxError> {
        let database = parse(url)?;
        loop {
            match try_open(&database).await {
                Ok(inbox) => return Ok(inbox),
                Err(error) if is_away(&error) => {
                    warn!("{}; trying again in a second", explain(&database, &error));
                    sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(explain(&database, &error).into()),
            }
        }
    }

    /// Stores the event and its job in a single statement, which is shared with concurrent events.
    ///
    /// # Errors
    ///
    /// Returns an error if the database fails. Propagate it so that SoundHash sends the event
    /// again.
    pub async fn accept(&self, delivery: &Delivery) -> Result<Accepted, EventLogError> {
        let accepted = self.log.accept(delivery).await?;
        if !accepted.is_duplicate() {
            self.new_jobs.notify_one();
        }
        Ok(accepted)
    }
}

/// Inserts jobs for new events, with at most 25 attempts each. The delays between attempts grow
/// from 3 s to 6 h, so the last attempt happens after about four days.
///
/// The queue's own `add_jobs` function does the same, but also notifies the workers. Postgres
/// commits transactions that send notifications one at a time, each with its own disk sync, which
/// would cut the commit rate to a twentieth. See [`wake_workers`].
const INSERT_JOBS: &str = "
    INSERT INTO graphile_worker._private_jobs (task_id, payload, max_attempts)
    SELECT (SELECT soundhash_event_task()), json_build_object('key', event_key), 25
    FROM new_events RETURNING 1";

/// The body of a function that returns the id of the task that the jobs belong to, and creates the
/// task if the queue's cleanup has deleted it.
const TASK_FUNCTION: &str = "
    DECLARE task integer;
    BEGIN
        LOOP
            SELECT id INTO task FROM graphile_worker._private_tasks
                WHERE identifier = 'soundhash_event';
            EXIT WHEN FOUND;
            INSERT INTO graphile_worker._private_tasks (identifier) VALUES ('soundhash_event')
                ON CONFLICT DO NOTHING;
        END LOOP;
        RETURN task;
    END ";

/// Changes nothing, but fails on a standby that has not been promoted yet.
const FAIL_IF_READ_ONLY: &str =
    "INSERT INTO acted_events (event_key, job_id) SELECT '', 0 WHERE FALSE";

/// Makes the ids of future jobs greater than the id of each job that waits or has run. The queue's
/// ids start over if its schema was dropped or its sequence was not restored. Workers would take
/// the new jobs for old ones, or the jobs could not be inserted.
const RAISE_JOB_IDS: &str = "
    SELECT setval(ids, latest) FROM (
        SELECT pg_get_serial_sequence('graphile_worker._private_jobs', 'id')::regclass AS ids,
            greatest((SELECT max(job_id) FROM acted_events),
                (SELECT max(id) FROM graphile_worker._private_jobs)) AS latest) AS used
    WHERE latest > coalesce(pg_sequence_last_value(ids), 0)";

/// Notifies the workers of new jobs, at most once every 50 ms. If a notification fails, the workers
/// find the jobs on their next poll.
async fn wake_workers(pool: PgPool, new_jobs: Arc<Notify>) {
    loop {
        new_jobs.notified().await;
        // The channel and payload are the same as in `add_jobs`.
        let notify =
            "SELECT pg_notify('jobs:insert', json_build_object('r', random(), 'count', 1)::text)";
        match timeout(CONNECT_TIMEOUT, sqlx::query(notify).execute(&pool)).await {
            Ok(Ok(_)) => {}
            failed => debug!(
                ?failed,
                "workers were not notified, and find the new jobs later"
            ),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Parses the URL. The error does not include the URL, which may contain a password.
fn parse(url: &str) -> Result<PgConnectOptions, BoxError> {
    let is_postgres = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    match (is_postgres, url.parse()) {
        (true, Ok(options)) => Ok(options),
        _ => Err(format!(
            "{DATABASE} is not the URL of a Postgres database: \
             set it to postgres://user:password@host:5432/database"
        )
        .into()),
    }
}

async fn is_writable(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let setting = sqlx::raw_sql("SHOW default_transaction_read_only");
    let setting = setting.fetch_one(connection).await?;
    Ok(setting.try_get::<&str, _>(0)? == "off")
}

async fn try_open(database: &PgConnectOptions) -> Result<Inbox, BoxError> {
    // Bypasses the pool, which would retry until it times out and hide the cause.
    let connection = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(database)).await;
    let silent = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "it does not reply"));
    connection.map_err(silent)??.close().await?;
    let options = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        // This is well below the 30 s that SoundHash waits for a response.
        .acquire_timeout(CONNECT_TIMEOUT)
        // Without this, a connection that hangs, or that was opened while the database was
        // read-only, would keep its place in the pool.
        .after_release(|connection, _| {
            Box::pin(async move {
                match timeout(CONNECT_TIMEOUT, is_writable(connection)).await {
                    Ok(is_writable) => is_writable,
                    Err(late) => Err(sqlx::Error::Io(late.into())),
                }
            })
        });
    // Migrations may wait longer for a lock, because another process may be running them at the
    // same time.
    let migrations = options.clone().connect_lazy_with(database.clone());
    migrate(&migrations).await?;
    migrations.close().await;
    // PgBouncer rejects settings in the startup packet.
    let pool = options
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
        })
        .connect_lazy_with(database.clone());
    let log = EventLog::new(pool.clone()).enqueue(INSERT_JOBS);
    let new_jobs = Arc::new(Notify::new());
    tokio::spawn(wake_workers(pool.clone(), Arc::clone(&new_jobs)));
    Ok(Inbox {
        pool,
        log,
        new_jobs,
    })
}

/// Returns a message that names the database, the cause, and the fix.
fn explain(database: &PgConnectOptions, error: &BoxError) -> String {
    let address = match database.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", database.get_host(), database.get_port()),
    };
    let causes = example_program::causes(&**error);
    format!(
        "cannot use the database at {address} ({DATABASE}): {causes}; \
         start the server if it does not run, or correct the variable"
    )
}

async fn migrate(pool: &PgPool) -> Result<(), BoxError> {
    EventLog::new(pool.clone()).migrate().await?;
    // If several processes start at the same time, only one of them creates the remaining tables.
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('soundhash inbox'))")
        .execute(&mut *tx)
        .await?;
    let queue = WorkerUtils::new(pool.clone(), QUEUE_SCHEMA);
    queue.migrate().await?;
    create_tables(&mut tx).await?;
    sqlx::query(FAIL_IF_READ_ONLY).execute(&mut *tx).await?;
    sqlx::query(RAISE_JOB_IDS).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates what is missing. A role may use the function and the table without owning them, but
/// Postgres rejects `OR REPLACE` and `IF NOT EXISTS` from it even if there is nothing to do.
async fn create_tables(connection: &mut PgConnection) -> Result<(), BoxError> {
    let hides_jobs = "SELECT row_security_active('graphile_worker._private_jobs')";
    if sqlx::query_scalar(hides_jobs)
        .fetch_one(&mut *connection)
        .await?
    {
        return Err(
            "the queue's row-level security hides the jobs from this role: connect as the role \
             that owns the queue's tables, or as one with BYPASSRLS"
                .into(),
        );
    }
    let function =
        "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure('soundhash_event_task()')";
    let function: Option<String> = sqlx::query_scalar(function)
        .fetch_optional(&mut *connection)
        .await?;
    if function.as_deref() != Some(TASK_FUNCTION) {
        let create = format!(
            "CREATE OR REPLACE FUNCTION soundhash_event_task() RETURNS integer
             LANGUAGE plpgsql AS $${TASK_FUNCTION}$$"
        );
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut *connection)
            .await?;
    }
    let is_missing = "SELECT to_regclass('acted_events') IS NULL";
    if sqlx::query_scalar(is_missing)
        .fetch_one(&mut *connection)
        .await?
    {
        sqlx::query(
            "CREATE TABLE acted_events (
                event_key text COLLATE \"C\" NOT NULL,
                job_id bigint NOT NULL,
                event_type text,
                acted_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (event_key, job_id)
            )",
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Returns whether the database is unreachable. A rejected statement is not retried.
fn is_away(error: &BoxError) -> bool {
    let first: &(dyn Error + 'static) = &**error;
    let mut causes = iter::successors(Some(first), |error| (*error).source());
    // `57P03`: the server is starting or recovering. `53300`: it has too many connections. `53100`:
    // its disk is full. `25006`: it is a standby that has not been promoted yet. `55P03`: another
    // session uses a table that has to be migrated. `08`: PgBouncer cannot reach it.
    let is_stopped = |code: &str| {
        ["57P", "08"].iter().any(|class| code.starts_with(class))
            || ["53300", "53100", "25006", "55P03"].contains(&code)
    };
    causes.any(|cause| match cause.downcast_ref() {
        Some(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)) => true,
        Some(sqlx::Error::Database(error)) => error.code().is_some_and(|code| is_stopped(&code)),
        // The queue's errors have a code only if the server rejected a statement.
        _ => cause
            .downcast_ref::<DbError>()
            .is_some_and(|error| error.code().is_none_or(is_stopped)),
    })
}
