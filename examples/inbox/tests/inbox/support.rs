//! Runs the example as a process, and reads the rows that it writes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use soundhash_webhook_tests::{
    process::{Process, Receiver},
    requests,
};
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

pub(crate) const SECRET: &str = "whsec_test";

/// The time that a step may take on a busy machine. A silent worker is considered dead after 20 s.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn event(id: &str) -> Vec<u8> {
    let event = json!({"type": "video.processed", "id": id, "data": {"video_id": 7}});
    event.to_string().into()
}

/// Sends the body as SoundHash would, and returns the status.
pub(crate) async fn deliver(receiver: &Receiver, secret: &str, body: &[u8]) -> u16 {
    let status = requests::deliver(&receiver.url(), secret, body).await;
    status.expect("a response")
}

/// Returns the keys and types of all `acted_events` rows, ordered by key.
pub(crate) async fn acted(database: &str) -> Vec<(String, String)> {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let select = "SELECT event_key, coalesce(event_type, '') FROM acted_events ORDER BY event_key";
    let rows = sqlx::query_as(select).fetch_all(&mut connection).await;
    rows.expect("the rows")
}

/// Waits until there are at least `count` rows, and returns them.
pub(crate) async fn acted_in_time(database: &str, count: usize) -> Vec<(String, String)> {
    let start = Instant::now();
    loop {
        let acted = acted(database).await;
        if acted.len() >= count {
            return acted;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {count} were handled",
            acted.len()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn command(argument: &str, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-inbox-example"));
    command
        .args(Some(argument).filter(|argument| !argument.is_empty()))
        .env_remove("RUST_LOG")
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_DATABASE", database);
    command
}

/// Starts the example with `receive`, or with an empty argument to make it both receive and work.
pub(crate) fn start(argument: &str, database: &str) -> Receiver {
    Receiver::listening(&mut command(argument, database))
}

pub(crate) fn start_worker(database: &str) -> Process {
    Process::start(&mut command("work", database))
}

/// Waits for the example to exit on its own, and returns its output.
pub(crate) fn output(argument: &str, database: &str) -> String {
    let output = command(argument, database)
        .output()
        .expect("the example runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}
