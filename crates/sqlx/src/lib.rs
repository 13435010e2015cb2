//! Handles each SoundHash event exactly once, by recording it in the same transaction as its
//! effects.
//!
//! SoundHash delivers an event at least once, and drops it after its last retry. For applications
//! with a Postgres or SQLite database, this crate adds three things to [`soundhash_webhook`]:
//!
//! - [`EventLog::record`] inserts the event's key and its verified body in *your* transaction. Your
//!   changes and the record are committed together or not at all.
//! - [`EventLog::accept`] stores the event in a commit shared with concurrent deliveries, for
//!   handlers that respond first and work later.
//! - [`SqlxStore`] is an idempotency store in the same table, for handlers whose effects are
//!   outside the database.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod example {
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use soundhash_webhook::{Delivery, Event, SoundHashWebhookLayer};
//! use soundhash_webhook_sqlx::{EventLog, EventLogError};
//! use sqlx::Sqlite;
//!
//! async fn receive(
//!     State(log): State<EventLog<Sqlite>>,
//!     event: Event,
//!     delivery: Delivery,
//! ) -> Result<StatusCode, EventLogError> {
//!     let mut tx = log.begin().await?;
//!     if log.record(&mut tx, &delivery).await?.is_duplicate() {
//!         return Ok(StatusCode::OK);
//!     }
//!     sqlx::query("INSERT INTO notices (event_type) VALUES ($1)")
//!         .bind(event.event_type().to_owned())
//!         .execute(&mut *tx)
//!         .await?;
//!     tx.commit().await?; // Both or neither.
//!     Ok(StatusCode::OK)
//! }
//!
//! fn app(log: EventLog<Sqlite>) -> Router {
//!     Router::new()
//!         .route("/webhooks/soundhash", post(receive))
//!         .layer(SoundHashWebhookLayer::new("whsec_test"))
//!         .with_state(log)
//! }
//! # }
//! ```
//!
//! To run on several machines, replace `Sqlite` with `Postgres`. The rest of the code stays the
//! same.
//!
//! # Guarantees
//!
//! The following table shows what happens if the process dies during a delivery, if the store
//! fails, and in other cases. Unless SoundHash receives a 2xx response, it sends the event again.
//!
//! | | `MemoryStore` | `RedisStore` | [`SqlxStore`] | [`EventLog::record`] |
//! | --- | --- | --- | --- | --- |
//! | dies before the handler's effects | handled once | handled once, after the lease | handled once, after the lease | handled once |
//! | dies after the effects are committed, before the event is completed | **handled twice** | **handled twice** | **handled twice** | cannot happen: one commit does both |
//! | dies after the event is completed, before the response | **handled twice**: the memory is lost | once | once | once |
//! | dies after the response, and a duplicate arrives days later | **handled twice** | once within the retention | once within the retention | once, until the row is purged |
//! | the store restarts or fails over | (the store is the process) | a replica can lack the last second: **twice** | committed data is not lost | committed data is not lost |
//! | the store is not available | (the store is the process) | 503, sent again | 503, sent again | 503, sent again |
//! | the handler takes longer than the lease (60 s) | **can run twice** | **can run twice** | **can run twice** | once: the transaction stays open |
//! | the body is kept | no | no | no | yes |
//! | suits | one process, effects that may happen twice after a crash | a fleet, effects elsewhere | a fleet with a database, effects elsewhere | effects in the same database |
//!
//! "Once" depends on the durability of the database. Postgres needs `synchronous_commit = on` (the
//! default) and a logged table, and must fail over only to a synchronous replica. To end a commit
//! that waits for the replica, use `pg_terminate_backend`: after `pg_cancel_backend`, Postgres
//! reports a success. SQLite needs `synchronous = FULL`, which is sqlx's default, and on macOS also
//! `PRAGMA fullfsync = ON`.
//!
//! A transaction does not cover effects outside the database, such as an email or an HTTP request.
//! Record the event together with a job, and pass the job's id to the service that you call. The
//! `inbox` example in the repository stores such a job.
//!
//! # What the crate detects
//!
//! A 2xx response must mean that the event is committed. After some failures, a pooled connection
//! is not in the state that sqlx expects. For example, SQLite rolls a transaction back on its own
//! when the disk is full. In the following cases, the crate returns an error, or repairs or
//! replaces the connection:
//!
//! - [`begin`](EventLog::begin), [`accept`](EventLog::accept) and [`SqlxStore`] replace a
//!   connection that is still in an sqlx transaction, was left read-only, or cannot reach the table
//!   because its role or `search_path` was changed. For this check on Postgres, `begin` takes a
//!   `ROW EXCLUSIVE` lock on the table, which `record` takes anyway.
//! - On Postgres, `begin` replaces a `statement_timeout` below one second with 30 s for the
//!   transaction.
//! - [`record`](EventLog::record) returns [`NoTransaction`](EventLogErrorKind::NoTransaction) if
//!   SQLite has rolled back the transaction. On SQLite, it cannot distinguish a nested transaction
//!   from one that follows such a rollback, so it rejects both.
//! - On Postgres, if one of the settings above makes `record` fail in a transaction from
//!   `pool.begin()`, the crate closes the connection. When SoundHash sends the event again, it is
//!   recorded on another connection.
//! - On Postgres, [`accept`](EventLog::accept) also replaces a connection on which your own SQL
//!   left a transaction open. This check takes one round trip per 16 batches.
//! - If one of your `BEFORE` triggers drops the row of a new event without an error, `record`,
//!   `accept` and `SqlxStore` return [`Skipped`](EventLogErrorKind::Skipped). An event is a
//!   duplicate only if its row is in the table.
//!
//! The crate cannot detect the following:
//!
//! - A handler that ignores an error from [`record`](EventLog::record) or from one of its own
//!   statements.
//! - On Postgres, a `BEGIN`, `COMMIT` or `ROLLBACK` in your own SQL, which sqlx does not see. If
//!   you return a connection to the pool after such a `BEGIN`, a later [`SqlxStore`] step on this
//!   connection is not committed. No event is lost, but a duplicate of a completed event can run
//!   your handler again. Detecting this would cost an extra round trip per step.
//! - On Postgres, a different table with the same name, which is either temporary or found through
//!   a changed `search_path`. Set [`schema`](EventLog::schema) to rule this out.
//! - A trigger that deletes or moves a row after it has been written, or that changes its
//!   `event_key`. On SQLite, a trigger that raises `FAIL`, which keeps the other rows of a batch.
//!   Raise `ABORT` instead.
//! - On SQLite, a file that is deleted or moved while it is open.
//! - Settings that weaken durability and persist on the connection, such as `synchronous_commit =
//!   off` or `PRAGMA synchronous = OFF`. Use `SET LOCAL`, or set them for the whole pool.
//! - On SQLite, a connection on which your own SQL has turned on `PRAGMA count_changes`. sqlx's
//!   worker panics on the next `complete` of [`SqlxStore`], which is then logged as a lost lease.
//!   The event is completed, and the pool opens a new connection.
//! - Transactions that never call a function of this crate.
//!
//! # What happens to concurrent duplicates
//!
//! `record` inserts the event's unique key in your transaction. A second transaction with the same
//! key waits until the first one ends, for at most [`lock_timeout`](EventLog::lock_timeout):
//!
//! - If the first one commits, the second is a [`Duplicate`](Recorded::Duplicate).
//! - If the first one rolls back, or its process dies, the second is [`New`](Recorded::New).
//! - If the first one takes too long, the second gets an error. Its handler responds with 503, and
//!   SoundHash sends the event again.
//!
//! A waiting transaction occupies a pooled connection. Keep transactions short, and set sqlx's
//! `acquire_timeout` to a few seconds. Its default is 30 s, which is as long as SoundHash waits. On
//! Postgres, the wait is canceled if the sender hangs up, unless many do at the same time.
//!
//! # Postgres
//!
//! Postgres must be version 12 or newer, and the database encoding must be `UTF8`. `record` takes
//! one round trip for a new event, two for a duplicate, and up to four while another transaction
//! records the same event.
//!
//! - **Return the first error.** After a statement fails, Postgres turns the commit of its
//!   transaction into a rollback, which sqlx reports as a success. A handler that ignores a
//!   statement's error and responds with 200 loses the event.
//! - **Isolation.** At `REPEATABLE READ` or `SERIALIZABLE`, a `record` call for a concurrent
//!   duplicate can fail with [`Conflict`](EventLogErrorKind::Conflict), as can any statement or
//!   commit of your transaction. The response is then a 503. The next delivery is handled or is a
//!   [`Duplicate`](Recorded::Duplicate). [`accept`](EventLog::accept), [`SqlxStore`] and all other
//!   functions of this crate retry conflicting transactions.
//! - **Machines that vanish.** Set `idle_in_transaction_session_timeout`, so that a receiver whose
//!   machine vanishes does not keep its events locked forever. Its idle connections stay open for
//!   two hours by default. To close them sooner, set `tcp_keepalives_idle = 30`,
//!   `tcp_keepalives_interval = 10` and `tcp_keepalives_count = 3`.
//! - **Connections that hang.** A proxy may keep a connection open after its server has gone, and
//!   sqlx waits for a reply without a time limit. If a connection hangs during one of this crate's
//!   own statements, the crate gives it up, after five minutes at the latest. The server may still
//!   execute the statement, for example while a synchronous standby is gone, so the pool then
//!   occupies more of the server's connections than its `max_connections`, and more as long as this
//!   lasts. Set a `CONNECTION LIMIT` for the role, so that other roles keep theirs. The server
//!   counts a connection whose peer has vanished until it notices that, so choose several times the
//!   size of the pools, and set the keepalives above. sqlx also pings each connection before
//!   returning it to the pool. Limit that ping, too, which also closes a connection on which a
//!   transaction may still begin:
//!
//!   ```
//!   # #[cfg(feature = "postgres")]
//!   # fn pool() -> sqlx::postgres::PgPoolOptions {
//!   use std::time::Duration;
//!   use sqlx::{Connection, postgres::PgPoolOptions};
//!   use tokio::time::timeout;
//!
//!   PgPoolOptions::new().after_release(|connection, _| {
//!       Box::pin(async move {
//!           match timeout(Duration::from_secs(5), connection.ping()).await {
//!               Ok(ping) => ping.map(|()| true),
//!               // `Ok(false)` would close the connection in order, which can hang, too.
//!               Err(late) => Err(sqlx::Error::Io(late.into())),
//!           }
//!       })
//!   })
//!   # }
//!   ```
//! - **Other clients.** Anyone who can insert rows into the table can make an event a duplicate that
//!   is never handled. If a service such as `PostgREST` publishes the schema `public`, use another
//!   [`schema`](EventLog::schema).
//! - **Archiving.** If you rename the table, rename its indexes, too. Otherwise, the new table that
//!   `migrate` creates has none, and `list` and `purge` read all of it.
//! - **PgBouncer.** Set `ignore_startup_parameters = extra_float_digits`. In transaction mode,
//!   sqlx's prepared statements need PgBouncer 1.21 or newer with `max_prepared_statements` above
//!   0. Older versions mix up their clients' statements. In a test with PgBouncer 1.18, 21 of
//!   60 concurrent events failed. Behind such a pooler, [`migrate`](EventLog::migrate) returns
//!   [`PreparedStatements`](EventLogErrorKind::PreparedStatements). Session mode works with every
//!   version. `statement_cache_capacity(0)` does not help, because sqlx names its statements
//!   anyway.
//! - **Round trips.** sqlx pings each connection that it takes from the pool.
//!   `test_before_acquire(false)` saves this round trip, but your own transactions may then begin
//!   on a connection that is already lost.
//!
//! # SQLite
//!
//! Use a file on a local disk, which any number of processes can share. Open it in WAL mode, with one
//! connection:
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # async fn open() -> sqlx::Result<()> {
//! use std::time::Duration;
//! use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
//!
//! let options = SqliteConnectOptions::new()
//!     .filename("events.db")
//!     .create_if_missing(true)
//!     .journal_mode(SqliteJournalMode::Wal)
//!     .busy_timeout(Duration::from_secs(5));
//! let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - **One transaction writes at a time**, even for different events. Other transactions wait up to
//!   the lock timeout, so a slow transaction delays every delivery. More connections do not write
//!   faster: each polls for the lock, and some wait long. In our benchmark, the 99th percentile of
//!   the response time was 21 to 135 ms with ten connections, and 4 ms with one.
//! - **Use a second pool for everything else**, such as your own queries. A handler that holds a
//!   transaction, and takes another connection from a pool of one, waits for itself.
//! - **Begin with [`EventLog::begin`]**, which is `BEGIN IMMEDIATE`. A transaction from
//!   `pool.begin()` is deferred. If it reads before it records, and another transaction writes in
//!   between, it fails with [`Conflict`](EventLogErrorKind::Conflict) without waiting.
//! - **Timeouts.** The wait for the lock ends after the lock timeout, or after the connection's
//!   `busy_timeout` if that is shorter.
//! - **Keep the log and all effects in one file.** In WAL mode, SQLite commits each attached
//!   database on its own, so that a full disk or a crash can commit the record without the effects.
//!   The event is then a duplicate and is never handled.
//! - **Backup.** Use `VACUUM INTO` or the `.backup` command of `sqlite3`. Never copy the file while
//!   the application runs: its latest events are in a second file, whose name ends in `-wal`.
//! - **Restore.** Stop the application and delete the files that end in `-wal` and `-shm` before you
//!   replace the database. Otherwise, SQLite applies the old `-wal` file to the backup, which
//!   destroys it. SQLite removes both files if you close all pools before the process ends, read-only
//!   pools first, but a process that is killed leaves them.
//! - **A full disk.** The error is [`StorageFull`](EventLogErrorKind::StorageFull), which becomes a
//!   503. The transaction is rolled back, and SoundHash sends the event again.
//!
//! # TLS
//!
//! To connect to Postgres over TLS, depend on the same version of `sqlx` and enable its
//! `tls-rustls` or `tls-native-tls` feature.
//!
//! # Features
//!
//! | feature | default | description |
//! | --- | --- | --- |
//! | `postgres` | no | [`Backend`] for `sqlx::Postgres` |
//! | `sqlite` | no | [`Backend`] for `sqlx::Sqlite`, with SQLite compiled in |
//! | `metrics` | no | counts duplicates in `soundhash_webhook_handlers_skipped_total` |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "each database is a feature")
)]

mod accept;
mod backend;
mod body;
mod connection;
mod error;
mod event;
mod log;
mod migrate;
mod name;
mod queue;
mod store;
mod telemetry;
mod text;

pub use self::{
    accept::Accepted,
    backend::Backend,
    error::{EventLogError, EventLogErrorKind},
    event::{EventFilter, EventSummary, RecordedEvent},
    log::{EventLog, Recorded},
    store::SqlxStore,
};
