//! `cargo run -p soundhash-webhook-queue-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, answers 202 as soon as they are in a
//! queue on Redis, and sends each on to another service, again and again until that takes it.
//!
//! With the argument `receive` or `work` it does only one of both: any number of processes can do
//! each.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | none |
//! | `SOUNDHASH_WEBHOOK_ADDR` | where to listen | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_REDIS` | the Redis server's URL | `redis://127.0.0.1:6379` |
//! | `SOUNDHASH_WEBHOOK_FORWARD` | where events are sent on to | `http://127.0.0.1:4000/events` |
//! | `RUST_LOG` | what to log | `info` |
//!
//! The Redis server must keep what it was told (`appendonly yes`, `maxmemory-policy noeviction`):
//! what was answered with 202 is nowhere else.

use std::{env, io};

use soundhash_webhook::{BoxError, Secret, idempotency::RedisStore};
use soundhash_webhook_queue_example::{
    job, receive,
    stop::Stop,
    work::{self, Service},
};
use tokio::net::TcpListener;
use tracing::info;
use tracing_subscriber::EnvFilter;

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

async fn receive(redis: &str, stop: Stop) -> Result<(), BoxError> {
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let queue = job::storage(redis)?;
    let store = RedisStore::connect(redis).await?;
    let addr = variable("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:3000");
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    info!("listening on http://{addr}/webhooks/soundhash");
    axum::serve(listener, receive::app(secret, queue, store))
        .with_graceful_shutdown(stop.told())
        .await?;
    Ok(())
}

async fn work(redis: &str, stop: Stop) -> Result<(), BoxError> {
    let url = variable("SOUNDHASH_WEBHOOK_FORWARD", "http://127.0.0.1:4000/events");
    info!("events are sent on to {url}");
    work::run(redis, Service::new(url)?, stop).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();
    let redis = variable("SOUNDHASH_WEBHOOK_REDIS", "redis://127.0.0.1:6379");
    let stop = Stop::at_signals()?;
    match env::args().nth(1).as_deref() {
        Some("receive") => receive(&redis, stop).await,
        Some("work") => work(&redis, stop).await,
        None => tokio::try_join!(receive(&redis, stop.clone()), work(&redis, stop)).map(drop),
        Some(other) => {
            Err(format!("`receive` or `work`, or nothing for both; not `{other}`").into())
        }
    }
}
