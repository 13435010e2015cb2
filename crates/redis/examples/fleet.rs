//! `cargo run -p soundhash-webhook-redis --example fleet`
//!
//! Receives SoundHash webhooks like the `receiver` example, but in any number of processes that
//! share a Redis server. Each event is printed exactly once, by one of the processes.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the secret of the endpoint | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_REDIS` | the Redis server's URL | `redis://127.0.0.1:6379` |
//! | `SOUNDHASH_WEBHOOK_LEASE_SECS` | how long a process may work on an event, in seconds | 60 |
//! | `SOUNDHASH_WEBHOOK_HANDLER_MS` | how long the handler sleeps before it prints, in milliseconds | 0 |
//! | `RUST_LOG` | the filter of the log | `info,h2=error` |

use std::{env, fmt::Display, process::ExitCode, str::FromStr, time::Duration};

use axum::routing::{MethodRouter, post};
use example_program::cannot_connect;
use soundhash_webhook::{BoxError, Event, idempotency::IdempotencyLayer};
use soundhash_webhook_redis::RedisStore;
use tokio::time::sleep;

const REDIS: &str = "SOUNDHASH_WEBHOOK_REDIS";

fn variable<T>(name: &str, default: T) -> Result<T, String>
where
    T: FromStr<Err: Display>,
{
    match env::var(name) {
        Ok(value) => value.parse().map_err(|error| format!("{name}: {error}")),
        Err(env::VarError::NotPresent) => Ok(default),
        // The error would repeat a password.
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

async fn webhook() -> Result<MethodRouter, BoxError> {
    let url = variable(REDIS, "redis://127.0.0.1:6379".to_owned())?;
    let lease = Duration::from_secs(variable("SOUNDHASH_WEBHOOK_LEASE_SECS", 60)?);
    if lease.is_zero() {
        return Err("SOUNDHASH_WEBHOOK_LEASE_SECS must be greater than zero".into());
    }
    let work = Duration::from_millis(variable("SOUNDHASH_WEBHOOK_HANDLER_MS", 0)?);
    let receive = move |event: Event| async move {
        if !work.is_zero() {
            sleep(work).await;
        }
        example_program::receive(event).await
    };
    let store = RedisStore::connect(&*url).await;
    let store = store.map_err(|error| cannot_connect(REDIS, &url, error))?;
    // A handler that is slow runs on even if the sender hangs up.
    let layer = IdempotencyLayer::new(store).lease(lease).detach(true);
    Ok(post(receive).layer(layer))
}

fn main() -> ExitCode {
    example_program::run_webhook(webhook())
}
