//! Takes clean connections from the pool, and cleans or closes the others.
//!
//! sqlx counts the transactions that it begins and ends, but a database can also end one on its
//! own, as SQLite does when the disk is full. sqlx's `ROLLBACK` then fails, and the connection that
//! returns to the pool still appears to be in a transaction. The user's statements can also leave a
//! transaction open, or leave settings changed, such as the role or the `search_path` on Postgres.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Pool, SqlSafeStr, Transaction, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::{Backend, BoxFuture, LONG, Value, depth},
    error::{is_conflict, may_be_the_connection},
};

/// The maximum number of times that a step is retried on another connection. All idle connections
/// may have the same fault. Two more attempts are left for new connections, because another task
/// may take the first one.
pub(crate) fn repetitions<DB: Backend>(pool: &Pool<DB>) -> usize {
    // The pool counts its idle connections without a lock, so the count can briefly wrap around and
    // become huge.
    pool.num_idle().min(100) + 2
}

/// The maximum number of times that a step is retried after conflicts with other transactions. The
/// retries run at `READ COMMITTED`, where only deadlocks are left.
pub(crate) const CONFLICTS: usize = 5;

/// How long the pool may take to ping an idle connection. A proxy may keep a connection open after
/// its server has gone, and sqlx would then wait for a reply until its `acquire_timeout`.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which a connection without a reply is given up, even if nobody waits for it. This
/// is long, because sqlx does not notice if a transaction begins later, after a server has paused.
pub(crate) const HANGING: Duration = Duration::from_mins(5);

/// Takes a connection from the pool. If this takes too long, tries all idle connections at the same
/// time. The pool closes those that do not reply, and then opens a new one.
async fn take<DB: Backend>(pool: &Pool<DB>) -> sqlx::Result<PoolConnection<DB>> {
    let mut first = Box::pin(pool.acquire());
    if let Ok(taken) = timeout(PING_TIMEOUT, &mut first).await {
        return taken;
    }
    let mut attempts = JoinSet::new();
    attempts.spawn(async { Some(first.await) });
    loop {
        for _ in 0..pool.num_idle().clamp(1, 100) {
            let other = timeout(PING_TIMEOUT, pool.acquire());
            attempts.spawn(async { other.await.ok()?.ok().map(Ok) });
        }
        while attempts.len() > 1
            && let Some(attempt) = attempts.join_next().await
        {
            if let Ok(Some(taken)) = attempt {
                return taken;
            }
        }
    }
}

/// A connection that is closed if it is dropped in the middle of a statement. Otherwise, sqlx would
/// first wait for the reply to the statement, which may never come, and the pool would not open
/// another connection in the meantime.
///
/// The server keeps executing the statement, so these connections count for the server even though
/// the pool has opened others. Their number is limited, so that a lock, or a standby that is waited
/// for, does not use up the server's connections.
pub(crate) struct Closing<DB: Backend> {
    connection: Option<PoolConnection<DB>>,
    line: Line<DB>,
    is_in_statement: bool,
}

impl<DB: Backend> Closing<DB> {
    fn new(connection: PoolConnection<DB>, line: &Line<DB>) -> Self {
        Self {
            connection: Some(connection),
            line: line.clone(),
            is_in_statement: false,
        }
    }

    /// Marks the start of a statement and returns the connection to run it on. Call
    /// [`end`](Self::end) when the statement has finished.
    pub(crate) fn begin(&mut self) -> &mut DB::Connection {
        self.is_in_statement = true;
        self.connection.as_mut().expect("not dropped yet")
    }

    pub(crate) fn end(&mut self) {
        self.is_in_statement = false;
    }

    pub(crate) fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            throw_away(connection);
        }
    }
}

impl<DB: Backend> Drop for Closing<DB> {
    fn drop(&mut self) {
        // SQLite always replies, so its connections do not have to be closed.
        if !self.is_in_statement || DB::ONE_WRITER {
            return;
        }
        let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current())
        else {
            return;
        };
        let pool = self.line.pool.clone();
        let place = self.line.abandoned.clone().try_acquire_owned();
        runtime.spawn(async move {
            if let Ok(place) = place {
                throw_away(connection);
                sleep(HANGING).await;
                drop(place);
            } else if !replies::<DB>(&mut connection, &pool).await {
                throw_away(connection);
            }
        });
    }
}

/// Waits for the reply to an abandoned statement, and returns whether the connection can be used
/// again. Returns `false` if the server has gone.
async fn replies<DB: Backend>(connection: &mut DB::Connection, pool: &Pool<DB>) -> bool {
    let start = Instant::now();
    // The statement may have begun a transaction.
    let mut idle = pin!(is_idle::<DB>(connection));
    loop {
        match timeout(LONG, idle.as_mut()).await {
            Ok(idle) => return idle,
            Err(_) if start.elapsed() > HANGING || !DB::is_busy(pool).await => return false,
            Err(_) => {}
        }
    }
}

/// Takes a connection that is not in a transaction.
pub(crate) async fn acquire<DB: Backend>(pool: &Pool<DB>) -> sqlx::Result<PoolConnection<DB>> {
    loop {
        let mut connection = take(pool).await?;
        if depth::<DB>(&connection) == 0 || DB::clean(&mut connection).await.is_ok() {
            return Ok(connection);
        }
        throw_away(connection);
    }
}

/// The callers that wait for a connection of a pool.
///
/// sqlx closes a connection if its caller is dropped while it is pinged, and opening another one
/// takes long. An attacker who hangs up could thus close all of them. A connection is therefore
/// taken in a separate task, which returns it if the caller is gone. The number of these tasks is
/// limited, so that other callers who give up leave the queue.
pub(crate) struct Line<DB: Backend> {
    pub(crate) pool: Pool<DB>,
    turns: Arc<Semaphore>,
    /// The number of connections that may be closed in the middle of a statement within
    /// [`HANGING`]. After that, the server has probably noticed.
    abandoned: Arc<Semaphore>,
}

/// The maximum number of tasks in addition to the number of connections.
const WAITING: usize = 64;

impl<DB: Backend> Clone for Line<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            turns: self.turns.clone(),
            abandoned: self.abandoned.clone(),
        }
    }
}

impl<DB: Backend> Line<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        let connections = pool.options().get_max_connections() as usize;
        let semaphore = |most| Arc::new(Semaphore::new(most));
        Self {
            pool,
            turns: semaphore(connections.saturating_add(WAITING)),
            abandoned: semaphore(connections),
        }
    }

    pub(crate) async fn acquire(&self) -> sqlx::Result<PoolConnection<DB>> {
        let taken = async {
            // The semaphore is never closed.
            let turn = self.turns.clone().acquire_owned().await;
            let (mut give, taken) = oneshot::channel();
            let pool = self.pool.clone();
            tokio::spawn(async move {
                let acquired = {
                    let mut connection = pin!(acquire(&pool));
                    // A task whose caller is gone leaves the queue, unless it pings a connection.
                    let mut gone = pin!(async {
                        give.closed().await;
                        sleep(PING_TIMEOUT).await;
                    });
                    poll_fn(|cx| match connection.as_mut().poll(cx) {
                        Poll::Ready(acquired) => Poll::Ready(Some(acquired)),
                        Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
                    })
                    .await
                };
                drop(turn);
                if let Some(acquired) = acquired {
                    let _ = give.send(acquired);
                }
            });
            taken.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
        };
        let limit = self.pool.options().get_acquire_timeout();
        let late = |_| Err(sqlx::Error::PoolTimedOut);
        timeout(limit, taken).await.unwrap_or_else(late)
    }
}

/// Takes a connection on which each statement commits on its own. On Postgres, [`acquire`] does not
/// notice a `BEGIN` in the user's own SQL. This function does, at the cost of an extra round trip.
pub(crate) async fn acquire_idle<DB: Backend>(line: &Line<DB>) -> sqlx::Result<Closing<DB>> {
    loop {
        let mut connection = Closing::new(acquire(&line.pool).await?, line);
        let is_idle = is_idle::<DB>(connection.begin()).await;
        connection.end();
        match is_idle {
            true => return Ok(connection),
            false => connection.close(),
        }
    }
}

/// Returns whether the connection replies and is not in a transaction.
async fn is_idle<DB: Backend>(connection: &mut DB::Connection) -> bool {
    // sqlx expects this statement to begin a transaction, so `BeginFailed` shows that the server was
    // not in one.
    let probe = Some("SELECT 1".into_sql_str());
    let begun = DB::TransactionManager::begin(connection, probe).await;
    matches!(begun, Err(sqlx::Error::BeginFailed))
}

/// Closes this connection in the background. The pool opens a new one in its place.
pub(crate) fn throw_away<DB: Backend>(mut connection: PoolConnection<DB>) {
    connection.close_on_drop();
}

/// Begins a transaction that may write, with [`Statements::begin`](crate::backend::Statements).
///
/// Must not be dropped before it ends. Otherwise, sqlx would return the connection to the pool with
/// a transaction that never ends.
pub(crate) async fn begin<DB: Backend>(
    connection: PoolConnection<DB>,
    pool: &Pool<DB>,
    sql: &Arc<str>,
) -> sqlx::Result<Transaction<'static, DB>> {
    let begun = try_begin(connection, pool, sql);
    // SQLite always replies.
    if DB::ONE_WRITER {
        return begun.await;
    }
    let late = || sqlx::Error::Io(io::ErrorKind::TimedOut.into());
    timeout(HANGING, begun).await.map_err(|_| late())?
}

async fn try_begin<DB: Backend>(
    connection: PoolConnection<DB>,
    pool: &Pool<DB>,
    sql: &Arc<str>,
) -> sqlx::Result<Transaction<'static, DB>> {
    let begin = || Some(AssertSqlSafe(Arc::clone(sql)).into_sql_str());
    let error = match Transaction::begin(connection, begin()).await {
        Err(error) if may_be_the_connection(&error) => error,
        done => return done,
    };
    // `Transaction::begin` keeps its connection even if it fails, so the connection cannot be
    // closed. This loop probes connections without a `Transaction`, and closes those that fail.
    for _ in 0..repetitions(pool) {
        let mut connection = acquire(pool).await?;
        let probe = async {
            DB::TransactionManager::begin(&mut connection, begin()).await?;
            DB::TransactionManager::rollback(&mut connection).await
        };
        if probe.await.is_ok() {
            return Transaction::begin(connection, begin()).await;
        }
        throw_away(connection);
    }
    Err(error)
}

pub(crate) type Step<DB, T> = for<'a> fn(
    &'a mut <DB as sqlx::Database>::Connection,
    &'a Arc<str>,
    &'a [Value<'a>],
) -> BoxFuture<'a, sqlx::Result<T>>;

/// Runs a statement on this connection, and retries it on another one if the first may have caused
/// the error.
pub(crate) async fn run_on<DB: Backend, T>(
    connection: PoolConnection<DB>,
    line: &Line<DB>,
    step: Step<DB, T>,
    sql: &Arc<str>,
    values: &[Value<'_>],
) -> sqlx::Result<T> {
    let mut connection = Closing::new(connection, line);
    let (mut faults, mut conflicts) = (repetitions(&line.pool), 0);
    loop {
        let open = connection.begin();
        let done = match conflicts {
            0 => step(open, sql, values).await,
            _ => in_transaction::<DB, T>(open, step, sql, values).await,
        };
        connection.end();
        match done {
            Err(error) if conflicts < CONFLICTS && is_conflict(&error) => conflicts += 1,
            // Only if the database rejected the statement is it certain that nothing has changed.
            Err(error @ sqlx::Error::Database(_))
                if faults > 0 && may_be_the_connection(&error) =>
            {
                faults -= 1;
                connection.close();
                connection = Closing::new(acquire(&line.pool).await?, line);
            }
            done => return done,
        }
    }
}

/// Runs a statement at `READ COMMITTED`.
async fn in_transaction<DB: Backend, T>(
    connection: &mut DB::Connection,
    step: Step<DB, T>,
    sql: &Arc<str>,
    values: &[Value<'_>],
) -> sqlx::Result<T> {
    let begin = format!("{}BEGIN", DB::READ_COMMITTED);
    let mut tx = connection.begin_with(AssertSqlSafe(begin)).await?;
    let done = step(&mut tx, sql, values).await?;
    tx.commit().await?;
    Ok(done)
}
