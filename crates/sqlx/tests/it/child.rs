//! A receiver in a separate process that a test can kill. The process runs the same test binary.

use std::{env, process::Command, time::Duration};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use soundhash_webhook::{Delivery, SoundHashWebhookLayer, idempotency::Key};
use soundhash_webhook_sqlx::{EventLog, EventLogError};
use soundhash_webhook_tests::process::Receiver;
use sqlx::{Postgres, Sqlite};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    accept::JOBS,
    fixture::{Fixture, SECRET},
};

const VARIABLE: &str = "SOUNDHASH_WEBHOOK_TEST_DATABASE";
const HANDLER: &str = "SOUNDHASH_WEBHOOK_TEST_HANDLER";

/// How the receiver handles an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handler {
    /// Records the event in the same transaction as its effect.
    Record,
    /// Accepts the event together with a job, which is its effect.
    Accept,
}

/// Sometimes pauses at a critical point, so that a kill at a random time is likely to hit it.
async fn pause() {
    let random = rand_below(8);
    if random > 4 {
        sleep(Duration::from_millis(random)).await;
    }
}

/// Returns a random number below `limit`. The randomness comes from the seeds of std's hash maps.
pub(crate) fn rand_below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % limit
}

async fn receive<DB: Fixture>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    if log.record(&mut tx, &delivery).await?.is_duplicate() {
        return Ok(StatusCode::OK);
    }
    pause().await;
    DB::act(&mut tx, Key::from(&delivery).as_str()).await?;
    pause().await;
    tx.commit().await?;
    pause().await;
    Ok(StatusCode::OK)
}

async fn accept<DB: Fixture>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    log.accept(&delivery).await?;
    pause().await;
    Ok(StatusCode::OK)
}

async fn serve<DB: Fixture>(url: &str) {
    let log = EventLog::new(DB::pool(url, 10).await).enqueue(JOBS);
    log.migrate().await.expect("a migration");
    let handler = match env::var(HANDLER).as_deref() {
        Ok("Accept") => post(accept::<DB>),
        _ => post(receive::<DB>),
    };
    let app = Router::new()
        .route("/webhooks/soundhash", handler)
        .layer(SoundHashWebhookLayer::new(SECRET))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(log);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    eprintln!("listening on http://{addr}/webhooks/soundhash");
    axum::serve(listener, app).await.expect("a server");
}

/// Receives events if [`start`] launched this program, and otherwise does nothing.
#[test]
fn receives_until_it_is_killed() {
    let Ok(url) = env::var(VARIABLE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match url.starts_with("postgres") {
        true => runtime.block_on(serve::<Postgres>(&url)),
        false => runtime.block_on(serve::<Sqlite>(&url)),
    }
}

pub(crate) fn start(database: &str, handler: Handler) -> Receiver {
    Receiver::listening(
        Command::new(env::current_exe().expect("this program"))
            .args([
                "child::receives_until_it_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(VARIABLE, database)
            .env(HANDLER, format!("{handler:?}")),
    )
}
