//! `cargo bench -p soundhash-webhook-benches --bench receiving`
//!
//! Compares ways of receiving events over sockets: the number of events accepted per second, the
//! response time, the stored size of an event, and the events lost in a failure. Only compare
//! figures from the same run, because the receivers, Redis, Postgres with `fsync`, SQLite with
//! `synchronous = FULL` and three NATS nodes with `sync_interval: always` share the machine with the
//! senders.
//!
//! `receiving NAME...` measures only those ways of receiving events whose names contain one of the
//! given words. `receiving soak` runs [a constant load](soak) for longer.
//!
//! - `table`: measures the ways of receiving events, and prints and plots the figures.
//! - `way`: the ways of receiving events, and the receivers that are not examples.
//! - `sender`: sends events.
//! - `stores`: measures the idempotency stores without a receiver.
//! - `soak`: memory and table sizes under a constant load.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are rounded"
)]

mod sender;
mod soak;
mod stores;
mod table;
mod way;

use std::{env, fs, time::Duration};

const SECRET: &str = "whsec_test";
const TIME: Duration = Duration::from_secs(4);
const CONNECTIONS: u32 = 32;
const BODY_LEN: usize = 700;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [serves, way, url] = &arguments[..]
        && serves == "serve"
    {
        return way::serve(way, url).await;
    }
    // `cargo test --benches` also runs this program, but does not need any measurements.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let words: Vec<String> = arguments.into_iter().filter(|it| it != "--bench").collect();
    if words == ["soak"] {
        return soak::run().await;
    }
    let folder = env::temp_dir().join(format!("soundhash-webhook-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    table::run(&words, &folder).await;
    let _ = fs::remove_dir_all(folder);
}
