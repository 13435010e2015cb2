//! `cargo run --example receiver`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, and prints each event to stdout once,
//! as one line of JSON. The log goes to stderr.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_IDEMPOTENCY` | if it is `off`, duplicates are printed, too | on |
//! | `RUST_LOG` | the filter of the log | `info,h2=error` |
//!
//! `GET /healthz` responds with `ok`. On SIGINT or SIGTERM, the program finishes the requests in
//! progress and exits.
//!
//! The `fleet` example in `soundhash-webhook-redis` does the same with several processes.

use std::{env, process::ExitCode};

use axum::routing::post;
use soundhash_webhook::idempotency::{IdempotencyLayer, MemoryStore};

fn main() -> ExitCode {
    example_program::run_webhook(async {
        let webhook = post(example_program::receive);
        Ok(match env::var("SOUNDHASH_WEBHOOK_IDEMPOTENCY").as_deref() {
            Ok("off") => webhook,
            _ => webhook.layer(IdempotencyLayer::new(MemoryStore::new(100_000))),
        })
    })
}
