//! `cargo run -p soundhash-webhook-jetstream-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, responds with 202 as soon as two of
//! three NATS servers have stored the verified bytes, and prints each event as one line of JSON
//! from a worker.
//!
//! With the argument `receive` or `work`, the program performs only that role. Each role can run in
//! any number of processes.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | required to receive |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_NATS` | comma-separated URLs of the cluster | `nats://127.0.0.1:4222` |
//! | `SOUNDHASH_WEBHOOK_NATS_MAX_BYTES` | bytes reserved for events; those that failed get a quarter of it in addition | `4294967296` |
//! | `RUST_LOG` | the filter of the log | `info,h2=error` |
//!
//! A delivery's key is its `Nats-Msg-Id`, so the stream drops duplicates for a day. A duplicate
//! that arrives later is handled again. The worker's action should therefore be idempotent.
//!
//! Events that failed ten times are moved to the `SOUNDHASH_GIVEN_UP` stream. The argument
//! `given-up` prints them, and `rerun` moves them back.

mod given_up;
mod receive;
mod settings;
mod stream;
mod work;

use std::{env, process::ExitCode, time::Duration};

use example_program::CancellationToken;
use soundhash_webhook::BoxError;
use tokio::time::sleep;
use tracing::warn;

use crate::stream::Streams;

/// The time that deliveries and events in progress get to finish after the first signal.
const GRACE: Duration = Duration::from_secs(30);

async fn run(stop: CancellationToken) -> Result<(), BoxError> {
    let role = env::args().nth(1);
    let role = role.as_deref();
    let receives = matches!(role, None | Some("receive"));
    let works = matches!(role, None | Some("work"));
    // The other commands have no deliveries or events in progress that could finish.
    let serves = receives || works;
    let interrupted = || match serves {
        true => Ok(()),
        false => Err("interrupted".into()),
    };
    if !serves && !matches!(role, Some("given-up" | "rerun")) {
        let role = role.unwrap_or_default();
        return Err(format!(
            "unknown argument {role:?}: use `receive`, `work`, `given-up`, `rerun`, or none"
        )
        .into());
    }
    // The secret is read before connecting, so that an invalid one is reported immediately.
    let secret = receives.then(receive::secret).transpose()?;
    let run = async {
        let connect = Box::pin(Streams::connect(serves));
        let Some(streams) = stop.run_until_cancelled(connect).await else {
            return interrupted();
        };
        let streams = streams?;
        let receive = async {
            match secret {
                Some(secret) => receive::run(secret, streams.clone(), stop.clone()).await,
                None => Ok(()),
            }
        };
        let work = async {
            match role {
                Some("given-up") => given_up::list(&streams).await,
                Some("rerun") => given_up::rerun(&streams).await,
                _ if works => work::run(streams.clone(), stop.clone()).await,
                _ => Ok(()),
            }
        };
        tokio::try_join!(receive, work).map(drop)
    };
    let grace = if serves { GRACE } else { Duration::ZERO };
    tokio::select! {
        done = run => done,
        () = async { stop.cancelled().await; sleep(grace).await } => {
            if serves {
                warn!("not everything has ended after {grace:?}; NATS delivers the rest again");
            }
            interrupted()
        }
    }
}

fn main() -> ExitCode {
    example_program::run(|stop| Box::pin(run(stop)))
}
