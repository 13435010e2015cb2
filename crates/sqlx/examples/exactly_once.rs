//! `cargo run -p soundhash-webhook-sqlx --example exactly_once --features sqlite`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash` on port 3000 with the secret
//! `whsec_test`, and counts the events of each type in the SQLite file `events.db`. Each event is
//! counted once, even if you kill the program at any time.

use std::time::Duration;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use soundhash_webhook::{BoxError, Delivery, Event, SoundHashWebhookLayer};
use soundhash_webhook_sqlx::{EventLog, EventLogError};
use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tokio::net::TcpListener;

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
    tx.commit().await?;
    Ok(StatusCode::OK)
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

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let options = SqliteConnectOptions::new()
        .filename("events.db")
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS counts (event_type TEXT PRIMARY KEY, events INTEGER)")
        .execute(&pool)
        .await?;
    let log = EventLog::new(pool);
    log.migrate().await?;

    let app = Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::new("whsec_test"))
        .with_state(log);
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000/webhooks/soundhash");
    axum::serve(listener, app).await?;
    Ok(())
}
