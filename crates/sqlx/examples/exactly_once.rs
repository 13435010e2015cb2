//! `cargo run -p soundhash-webhook-sqlx --example exactly_once --features sqlite`
//!
//! Receives SoundHash webhooks like the `receiver` example, and counts the events of each type in
//! the SQLite file `events.db`. Each event is counted once, no matter when you kill the program.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the secret of the endpoint | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `RUST_LOG` | the filter of the log | `info,h2=error,sqlx=error` |

use std::{process::ExitCode, time::Duration};

use axum::{extract::State, http::StatusCode, routing::post};
use soundhash_webhook::{BoxError, Delivery, Event};
use soundhash_webhook_sqlx::{EventLog, EventLogError};
use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::timeout;

const DATABASE: &str = "events.db";

/// The maximum time for closing the database. A delivery can still use the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

async fn receive(
    State(log): State<EventLog<Sqlite>>,
    event: Event,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    if log.record(&mut tx, &delivery).await?.is_duplicate() {
        return Ok(StatusCode::OK);
    }
    count(&mut tx, &event).await?;
    let printed = example_program::receive(event).await;
    // An event that could not be printed is not counted, so that SoundHash's retry prints it.
    if printed.is_success() {
        tx.commit().await?;
    }
    Ok(printed)
}

async fn count(tx: &mut SqliteConnection, event: &Event) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO counts VALUES ($1, 1)
         ON CONFLICT (event_type) DO UPDATE SET events = events + 1",
    )
    .bind(event.event_type().to_owned())
    .execute(tx)
    .await?;
    Ok(())
}

async fn open() -> Result<(SqlitePool, EventLog<Sqlite>), BoxError> {
    let options = SqliteConnectOptions::new()
        .filename(DATABASE)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    // SQLite has one writer at a time.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS counts (event_type TEXT PRIMARY KEY, events INTEGER)")
        .execute(&pool)
        .await?;
    let log = EventLog::new(pool.clone());
    log.migrate().await?;
    Ok((pool, log))
}

fn main() -> ExitCode {
    example_program::run(|stop| async move {
        // The program can be asked to stop while it still waits for the database.
        let Some(opened) = stop.run_until_cancelled(open()).await else {
            return Ok(());
        };
        let (pool, log) = opened.map_err(|error| {
            let causes = example_program::causes(&*error);
            format!("cannot open {DATABASE} in the current directory: {causes}")
        })?;
        let served = example_program::serve_webhook(post(receive).with_state(log), stop).await;
        // SQLite then removes its `-wal` file, which it would otherwise apply to a backup that you
        // restore.
        let _ = timeout(CLOSE_TIMEOUT, pool.close()).await;
        served
    })
}
