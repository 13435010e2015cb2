//! The example as a process, and the rows that it writes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

pub(crate) const SECRET: &str = "whsec_test";

/// The time that a step may take on a busy machine. A silent worker counts as dead after 20 s.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn event(id: &str) -> Value {
    json!({"type": "video.processed", "id": id, "data": {"video_id": 7, "title": "A song"}})
}

/// Sends the body as SoundHash does, and returns the status.
pub(crate) async fn deliver_bytes(receiver: &Program, secret: &str, body: &[u8]) -> u16 {
    let status = try_deliver_bytes(&receiver.url, secret, body).await;
    status.expect("an answer")
}

pub(crate) async fn deliver(receiver: &Program, secret: &str, event: &Value) -> u16 {
    deliver_bytes(receiver, secret, event.to_string().as_bytes()).await
}

/// Returns the status, or `None` if the connection failed.
pub(crate) async fn try_deliver(url: &str, secret: &str, event: &Value) -> Option<u16> {
    try_deliver_bytes(url, secret, event.to_string().as_bytes()).await
}

async fn try_deliver_bytes(url: &str, secret: &str, body: &[u8]) -> Option<u16> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build();
    let request = client
        .expect("a client")
        .post(url)
        .header(SIGNATURE_HEADER, Secret::new(secret).sign(body).to_string())
        .body(body.to_vec());
    Some(request.send().await.ok()?.status().as_u16())
}

/// Returns the keys and types of all rows of `acted_events`, in order.
pub(crate) async fn acted(database: &str) -> Vec<(String, String)> {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let select = "SELECT event_key, coalesce(event_type, '') FROM acted_events ORDER BY event_key";
    let rows = sqlx::query_as(select).fetch_all(&mut connection).await;
    rows.expect("the rows")
}

/// Waits until there are so many rows, and returns them.
pub(crate) async fn acted_in_time(database: &str, count: usize) -> Vec<(String, String)> {
    let start = Instant::now();
    loop {
        let acted = acted(database).await;
        if acted.len() >= count {
            return acted;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {count} were acted on",
            acted.len()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// The running example. Dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    /// The address on which it listens, if any.
    pub(crate) url: String,
}

fn command(argument: &str, database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundhash-webhook-inbox-example"));
    command
        .args(Some(argument).filter(|argument| !argument.is_empty()))
        .env_remove("RUST_LOG")
        .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_DATABASE", database)
        .stdin(Stdio::null());
    command
}

impl Program {
    /// Starts `receive` or `work`, or both for an empty argument.
    pub(crate) fn start(argument: &str, database: &str) -> Self {
        let mut child = command(argument, database)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = log.lines().map_while(Result::ok);
        let listening = |line: String| Some(line.split_once("listening on ")?.1.to_owned());
        let url = if argument == "work" {
            String::new()
        } else {
            lines.by_ref().find_map(listening).expect("it listens")
        };
        // Shown if the test fails, and read so that the example never blocks on the pipe.
        thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Self { child, url }
    }

    /// Runs a command to its end, and returns its output.
    pub(crate) fn output(argument: &str, database: &str) -> String {
        let output = command(argument, database)
            .output()
            .expect("the example runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Sends a signal, as `kill -s` does.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.expect("kill").success());
    }

    pub(crate) async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("its status"));
        let ended = timeout(PATIENCE, ended).await.expect("an end in time");
        ended.expect("no panic")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
