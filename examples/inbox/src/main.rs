//! `cargo run -p soundhash-webhook-inbox-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, stores each event with a job in
//! Postgres, and answers 202. Workers act on each event once: they write a row into `acted_events`.
//!
//! | argument | meaning |
//! | --- | --- |
//! | none | receives and works in one process |
//! | `receive` or `work` | does only one of the two, in any number of processes |
//! | `given-up` | lists the jobs that failed too often, one per line |
//! | `run-again` | runs those jobs again |
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | none |
//! | `SOUNDHASH_WEBHOOK_ADDR` | where to listen | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_DATABASE` | the URL of the Postgres database | `postgres://localhost/soundhash` |
//! | `RUST_LOG` | what to log | `info` |

use std::{env, io};

use soundhash_webhook::{BoxError, Secret};
use soundhash_webhook_inbox_example::{inbox::Inbox, receive, stop::Stop, work};
use soundhash_webhook_sqlx::RecordedEvent;
use tokio::net::TcpListener;
use tracing::{debug, info};
use tracing_subscriber::EnvFilter;

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

async fn open() -> Result<Inbox, BoxError> {
    Inbox::open(&variable(
        "SOUNDHASH_WEBHOOK_DATABASE",
        "postgres://localhost/soundhash",
    ))
    .await
}

async fn receive(inbox: Inbox, stop: Stop) -> Result<(), BoxError> {
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let addr = variable("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:3000");
    let listener = TcpListener::bind(addr).await?;
    info!(
        "listening on http://{}/webhooks/soundhash",
        listener.local_addr()?
    );
    axum::serve(listener, receive::app(secret, inbox))
        .with_graceful_shutdown(stop.told())
        .await?;
    Ok(())
}

async fn work(inbox: Inbox, stop: Stop) -> Result<(), BoxError> {
    info!("waiting for jobs");
    let work = |event: &RecordedEvent| {
        // Put your own work here.
        debug!(key = %event.summary.key, bytes = event.body.len(), "working");
        Ok(())
    };
    work::run(inbox, work, stop).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();
    let argument = env::args().nth(1);
    let stop = Stop::at_signals()?;
    match argument.as_deref() {
        Some("receive") => receive(open().await?, stop).await,
        Some("work") => work(open().await?, stop).await,
        Some("given-up") => {
            for job in open().await?.given_up().await? {
                let reason = job.last_error.unwrap_or_default();
                println!("{} {} {reason:?}", job.key, job.attempts);
            }
            Ok(())
        }
        Some("run-again") => {
            println!("{}", open().await?.run_again().await?);
            Ok(())
        }
        None => {
            let inbox = open().await?;
            tokio::try_join!(receive(inbox.clone(), stop.clone()), work(inbox, stop)).map(drop)
        }
        Some(other) => Err(format!(
            "unknown argument `{other}`: use `receive`, `work`, `given-up`, `run-again` or nothing"
        )
        .into()),
    }
}
