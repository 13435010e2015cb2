//! Receives 1,000 events per second with the `inbox` example, for `SOUNDHASH_WEBHOOK_SOAK_SECONDS`
//! (600 by default), and fails if the example's memory or the number of waiting jobs grows.

use std::{env, time::Duration};

use soundhash_webhook_tests::{
    postgres_server::PostgresServer,
    process::{Output, Receiver},
};
use tokio::time::Instant;

use crate::{
    BODY_LEN, SECRET,
    sender::send_at,
    way::{build, number, program},
};

const PARTS: u32 = 20;
const RATE: f64 = 1_000.0;

pub(crate) async fn run() {
    let time = env::var("SOUNDHASH_WEBHOOK_SOAK_SECONDS")
        .map_or(600, |seconds| seconds.parse().expect("a number of seconds"));
    let postgres = PostgresServer::start_with("on");
    let url = postgres.url();
    build("inbox");
    let mut inbox = program("inbox");
    inbox
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_DATABASE", &url);
    let receiver = Receiver::with_output(&inbox, Output::Discarded);
    println!("| seconds | accepted | memory MiB | database MiB | waiting jobs | p99 ms |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let (mut memory, mut waiting, mut all, start) = (Vec::new(), 0, 0, Instant::now());
    for _ in 0..PARTS {
        let part = Duration::from_secs(time) / PARTS;
        let sent = send_at(&receiver.addr, BODY_LEN, Some(RATE), part).await;
        all += sent.accepted;
        memory.push(receiver.process.resident() / 1024);
        let size = number(&url, "SELECT pg_database_size(current_database()) >> 20").await;
        waiting = number(&url, "SELECT count(*) FROM graphile_worker._private_jobs").await;
        println!(
            "| {} | {all} | {} | {size} | {waiting} | {:.1} |",
            start.elapsed().as_secs(),
            memory[memory.len() - 1],
            sent.millis(0.99),
        );
    }
    let (early, late) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    assert!(
        late <= early * 5 / 4 + 16,
        "the memory grows: {memory:?} MiB"
    );
    assert!(waiting < 10 * RATE as i64, "{waiting} jobs wait");
    let stored = number(&url, "SELECT count(*) FROM soundhash_events").await;
    assert_eq!(stored as u64, all, "events in the table, and accepted");
}
