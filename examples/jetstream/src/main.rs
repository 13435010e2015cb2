//! `cargo run -p soundhash-webhook-jetstream-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, answers 202 as soon as two of three
//! NATS servers have stored the verified bytes, and prints each event as one line of JSON from a
//! worker.
//!
//! With the argument `receive` or `work`, the program does only one of the two. Any number of
//! processes can run each.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | required to receive |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_NATS` | comma-separated URLs of the cluster | `nats://127.0.0.1:4222` |
//! | `RUST_LOG` | what to log | `info` |
//!
//! The key of a delivery is its `Nats-Msg-Id`, so that the stream drops duplicates for a day. A
//! duplicate that arrives later is acted on again. The worker's action should therefore be
//! idempotent.
//!
//! Events that failed ten times are moved to the stream `SOUNDHASH_GIVEN_UP`. The argument
//! `given-up` prints them, and `rerun` moves them back.

mod given_up;
mod receive;
mod stop;
mod stream;
mod work;

use std::{env, io, process::ExitCode};

use soundhash_webhook::BoxError;
use tracing_subscriber::EnvFilter;

use crate::{stop::Stop, stream::Streams};

async fn run() -> Result<(), BoxError> {
    let stop = Stop::at_signals()?;
    let role = env::args().nth(1);
    let urls =
        env::var("SOUNDHASH_WEBHOOK_NATS").unwrap_or_else(|_| "nats://127.0.0.1:4222".into());
    let streams = tokio::select! {
        streams = Streams::connect(&urls) => streams?,
        () = stop.clone().requested() => return Ok(()),
    };
    match role.as_deref() {
        Some("receive") => receive::run(streams, stop).await,
        Some("work") => work::run(streams, stop).await,
        Some("given-up") => given_up::list(&streams).await,
        Some("rerun") => given_up::rerun(&streams).await,
        None => {
            let receiver = receive::run(streams.clone(), stop.clone());
            tokio::try_join!(receiver, work::run(streams, stop)).map(drop)
        }
        Some(other) => Err(format!(
            "unknown argument `{other}`: use `receive`, `work`, `given-up`, `rerun`, or none"
        )
        .into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();
    match Box::pin(run()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
