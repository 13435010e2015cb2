//! `cargo bench -p soundhash-webhook-benches --bench receiving`
//!
//! Compares the ways to receive events, over sockets: the number of events accepted per second, the
//! response time, the bytes that an event occupies, and the events that each failure loses. Compare
//! figures within one run only: the receivers, Redis, Postgres with `fsync`, SQLite with
//! `synchronous = FULL` and three nodes of NATS share this machine with the senders.
//!
//! `receiving NAME...` measures only the ways whose names contain one of these words. `receiving
//! soak` sends 1,000 events per second to the example `inbox` for `SOUNDHASH_WEBHOOK_SOAK_SECONDS`,
//! 600 by default, and fails if its memory or the number of waiting jobs grows.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are rounded"
)]

use std::{
    env, fs,
    future::pending,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{MethodRouter, post},
};
use soundhash_webhook::{
    Delivery, Event, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_server::Server;
use soundhash_webhook_sqlx::{Backend, EventLog, EventLogError};
use soundhash_webhook_tests::{
    nats_cluster::NatsCluster,
    postgres_server::PostgresServer,
    process::{Output, Process, Receiver},
    redis_server::RedisServer,
};
use sqlx::{
    Connection, PgConnection,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until},
};

const SECRET: &str = "whsec_test";
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(4);
const CONNECTIONS: u32 = 32;
const BODY_LEN: usize = 700;

/// A way to receive events.
struct Way {
    name: &'static str,
    program: Command,
    stored: Stored,
    /// The line that a worker logs for each event, or `None` if the receiver itself handles the
    /// events.
    worker: Option<&'static str>,
    lost: &'static str,
}

/// The place where the events are stored, which is measured for the bytes that they occupy.
enum Stored {
    Nowhere,
    Memory,
    Postgres(String),
    Redis(String),
    Folder(PathBuf),
}

impl Stored {
    async fn bytes(&self, receiver: &Process) -> u64 {
        match self {
            Self::Nowhere => 0,
            Self::Memory => receiver.resident() * 1024,
            Self::Postgres(url) => {
                number(url, "SELECT pg_database_size(current_database())").await as u64
            }
            Self::Redis(url) => {
                let client = redis::Client::open(url.as_str()).expect("a URL");
                let connection = client.get_multiplexed_async_connection().await;
                let info: String = redis::cmd("INFO")
                    .arg("memory")
                    .query_async(&mut connection.expect("a connection"))
                    .await
                    .expect("INFO");
                let mut lines = info.lines();
                let used = lines.find_map(|line| line.strip_prefix("used_memory:"));
                used.expect("used_memory").parse().expect("a number")
            }
            Self::Folder(folder) => bytes_in(folder),
        }
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

async fn number(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    number.expect("a number")
}

/// Sends new events for some time, at most `limit` per second over all connections. Returns the
/// number of accepted events, their rate, and the sorted response times. If there is a limit, the
/// response time counts from the moment at which the event was due.
async fn send(addr: &str, limit: Option<f64>, time: Duration) -> (u64, f64, Vec<Duration>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);

    let (times, start) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let mut senders = JoinSet::new();
    for sender in 0..CONNECTIONS {
        let (addr, all) = (addr.to_owned(), Arc::clone(&times));
        senders.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let pause = limit.map(|limit| Duration::from_secs_f64(f64::from(CONNECTIONS) / limit));
            let mut times = Vec::new();
            let mut due = start + pause.unwrap_or_default() * sender / CONNECTIONS;
            loop {
                match pause {
                    Some(_) => sleep_until(due).await,
                    None => due = Instant::now(),
                }
                if start.elapsed() >= time {
                    break;
                }
                deliver(&mut stream, NUMBER.fetch_add(1, Ordering::Relaxed)).await;
                times.push(due.elapsed());
                due += pause.unwrap_or_default();
            }
            all.lock().expect("the times").append(&mut times);
        });
    }
    senders.join_all().await;
    let mut times = std::mem::take(&mut *times.lock().expect("the times"));
    times.sort_unstable();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    (times.len() as u64, rate, times)
}

/// Sends an event, and checks that it is accepted.
async fn deliver(stream: &mut TcpStream, id: u64) {
    let head = format!(r#"{{"id": "{id:022}", "type": "video.processed", "data": {{"title": ""#);
    let title = "x".repeat(BODY_LEN - head.len() - 3);
    let body = format!("{head}{title}\"}}}}");
    let request = format!(
        "POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_LEN}\r\n\
         {SIGNATURE_HEADER}: {}\r\n\r\n{body}",
        Secret::new(SECRET).sign(body.as_bytes())
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::with_capacity(1024);
    while !response.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut response).await.expect("a response");
        assert!(read > 0, "the connection was closed");
    }
    let accepted = ["HTTP/1.1 200 ", "HTTP/1.1 202 "].map(str::as_bytes);
    let is_accepted = accepted.iter().any(|it| response.starts_with(it));
    assert!(is_accepted, "{}", String::from_utf8_lossy(&response));
}

/// The figures of a way: one per round, except for the bytes.
#[derive(Default)]
struct Figures {
    accepted: Vec<f64>,
    half: Vec<f64>,
    p99: Vec<f64>,
    handled: Vec<f64>,
    bytes: Option<u64>,
}

impl Way {
    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(self.program.get_program());
        command
            .args(self.program.get_args())
            .args(self.worker.map(|_| role))
            .env_remove("RUST_LOG")
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET);
        for (name, value) in self.program.get_envs() {
            command.env(name, value.expect("a value"));
        }
        command
    }

    async fn measure(&self, figures: &mut Figures) {
        let receiver = Receiver::with_output(&self.command("receive"), Output::Discarded);
        let before = self.stored.bytes(&receiver).await;
        let (mut accepted, rate, _) = send(&receiver.addr, None, TIME).await;
        let after = self.stored.bytes(&receiver).await;
        figures.accepted.push(rate);
        figures
            .bytes
            .get_or_insert(after.saturating_sub(before) / accepted);
        let (more, _, times) = send(&receiver.addr, Some(rate / 2.0), TIME).await;
        accepted += more;
        let millis = |at: usize| times[at].as_secs_f64() * 1e3;
        figures.half.push(millis(times.len() / 2));
        figures.p99.push(millis(times.len() * 99 / 100));
        drop(receiver);
        if let Some(line) = self.worker {
            let start = Instant::now();
            let mut worker = Process::start(&mut self.command("work"));
            for _ in 0..accepted {
                worker.wait_for_log(line);
            }
            let rate = accepted as f64 / start.elapsed().as_secs_f64();
            figures.handled.push(rate);
        }
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Returns the commits per second of Postgres itself, and their mean time in milliseconds: the same
/// row, written by as many clients, each of which commits it alone.
fn pgbench(url: &str, folder: &Path) -> (f64, f64) {
    let script = folder.join("insert.sql");
    let insert = format!(
        "INSERT INTO pgbench_events (body) VALUES (decode(repeat('78', {BODY_LEN}), 'hex'));"
    );
    fs::write(&script, insert).expect("a script");
    let run = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-j", "2"])
        .args(["-c", &CONNECTIONS.to_string()])
        .args(["-T", &TIME.as_secs().to_string(), "-f"])
        .args([script.as_os_str(), url.as_ref()])
        .output();
    let run = run.expect("pgbench (apt-get install postgresql-contrib)");
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    let figure = |name: &str| {
        let mut lines = printed.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.unwrap_or_else(|| panic!("{run:?}"))
    };
    (figure("tps = "), figure("latency average = "))
}

/// Creates a database, and returns its URL.
async fn database(server: &PostgresServer, name: &str) -> String {
    let mut connection = PgConnection::connect(&server.url())
        .await
        .expect("Postgres");
    let create = format!("CREATE DATABASE {name}");
    let created = sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&mut connection)
        .await;
    created.expect("a database");
    server.url().replace("/postgres", &format!("/{name}"))
}

/// Returns a receiver that is part of this program. See [`serve`].
fn own(name: &'static str, url: &str, stored: Stored, lost: &'static str) -> Way {
    let mut program = Command::new(env::current_exe().expect("this program"));
    program.args(["serve", name, url]);
    Way {
        name,
        program,
        stored,
        worker: None,
        lost,
    }
}

/// Returns an example that is a package. It is not built yet: see [`build`].
fn package(
    name: &'static str,
    (variable, url): (&str, &str),
    stored: Stored,
    (worker, lost): (&'static str, &'static str),
) -> Way {
    let mut program = Command::new(profile().join(package_name(name)));
    program.env(variable, url);
    Way {
        name,
        program,
        stored,
        worker: Some(worker),
        lost,
    }
}

fn package_name(name: &str) -> String {
    format!("soundhash-webhook-{name}-example")
}

/// Returns the folder of the profile's programs. This program is at
/// `target/release/deps/receiving-<hash>`.
fn profile() -> PathBuf {
    let bench = env::current_exe().expect("this program");
    let profile = bench.ancestors().nth(2).expect("the profile's folder");
    profile.to_owned()
}

fn build(name: &str) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", &package_name(name)])
        .args(profile().ends_with("release").then_some("--release"))
        .arg("--target-dir")
        .arg(profile().parent().expect("the target folder"))
        .status();
    assert!(status.expect("cargo").success(), "{name} does not build");
}

async fn record<DB: Backend>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    if log.record(&mut tx, &delivery).await?.is_duplicate() {
        return Ok(StatusCode::CONFLICT);
    }
    tx.commit().await?;
    Ok(StatusCode::OK)
}

async fn accept<DB: Backend>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    log.accept(&delivery).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn with_log<DB: Backend>(way: &str, log: EventLog<DB>) -> MethodRouter {
    log.migrate().await.expect("a table");
    let handler = match way.starts_with("accept") {
        true => post(accept::<DB>),
        false => post(record::<DB>),
    };
    handler.with_state(log)
}

/// Serves one of the ways. The handler does nothing but take the event.
async fn serve(way: &str, url: &str) {
    let handler = || post(async |_: Event| StatusCode::OK);
    let mut webhook: MethodRouter = match way {
        "no layer" => post(async |body: Bytes| match Event::from_slice(&body) {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::BAD_REQUEST,
        }),
        "layer alone" => handler(),
        "MemoryStore" => handler().layer(IdempotencyLayer::new(MemoryStore::new(1_000_000))),
        "RedisStore" => {
            let store = RedisStore::connect(url.to_owned()).await.expect("Redis");
            handler().layer(IdempotencyLayer::new(store))
        }
        _ if url.starts_with("postgres") => {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
            let pool = pool.connect(url).await.expect("Postgres");
            with_log(way, EventLog::new(pool)).await
        }
        _ => {
            let options = SqliteConnectOptions::new()
                .filename(url)
                .create_if_missing(true)
                .synchronous(SqliteSynchronous::Full)
                .pragma("journal_mode", "wal");
            let pool = SqlitePoolOptions::new().connect_with(options).await;
            with_log(way, EventLog::new(pool.expect("SQLite"))).await
        }
    };
    if way != "no layer" {
        webhook = webhook.layer(SoundHashWebhookLayer::new(SECRET));
    }
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").expect("an address");
    let listener = TcpListener::bind(addr).await.expect("a free port");
    let app = Router::new().route("/webhooks/soundhash", webhook);
    Server::new(listener).serve(app, pending()).await;
}

/// Prints the table.
async fn compare(words: &[String], folder: &Path) {
    let postgres = PostgresServer::start_with("on");
    let (redis, nats) = (RedisServer::start(), NatsCluster::start());
    let mut urls = Vec::new();
    for name in ["pgbench", "record", "accept", "inbox"] {
        urls.push(database(&postgres, name).await);
    }
    let mut connection = PgConnection::connect(&urls[0]).await.expect("Postgres");
    let create = "CREATE TABLE pgbench_events
                  (id text PRIMARY KEY DEFAULT gen_random_uuid()::text, body bytea)";
    sqlx::query(create)
        .execute(&mut connection)
        .await
        .expect("a table");
    let in_postgres = |at: usize| Stored::Postgres(urls[at].clone());
    let (disk, power) = (
        "the disk is lost",
        "all three machines lose power: the last two minutes",
    );
    let in_sqlite = |name: &'static str, subfolder: &str| {
        let file = folder.join(subfolder);
        fs::create_dir_all(&file).expect("a folder");
        let url = file.join("events.db").display().to_string();
        own(name, &url, Stored::Folder(file), disk)
    };
    let (remembered, fails_over) = (redis.url(), "Redis fails over: its last second");
    let mut ways = vec![
        own("no layer", "", Stored::Nowhere, "it verifies nothing"),
        own(
            "layer alone",
            "",
            Stored::Nowhere,
            "duplicates are handled again",
        ),
        own("MemoryStore", "", Stored::Memory, "the process ends"),
        own(
            "RedisStore",
            &remembered,
            Stored::Redis(redis.url()),
            fails_over,
        ),
        own("record, Postgres", &urls[1], in_postgres(1), disk),
        in_sqlite("record, SQLite", "record"),
        own("accept, Postgres", &urls[2], in_postgres(2), disk),
        in_sqlite("accept, SQLite", "accept"),
        package(
            "inbox",
            ("SOUNDHASH_WEBHOOK_DATABASE", &urls[3]),
            in_postgres(3),
            ("acted on", disk),
        ),
        package(
            "jetstream",
            ("SOUNDHASH_WEBHOOK_NATS", &nats.urls),
            Stored::Folder(nats.folder().to_owned()),
            ("done", power),
        ),
    ];
    ways.retain(|way| words.is_empty() || words.iter().any(|word| way.name.contains(word)));
    for way in ways.iter().filter(|way| way.worker.is_some()) {
        build(way.name);
    }
    let mut figures: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
    let mut bench = (Vec::new(), Vec::new());
    // The measurements alternate, so that all have the same conditions.
    for _ in 0..ROUNDS {
        let (rate, mean) = pgbench(&urls[0], folder);
        bench.0.push(rate);
        bench.1.push(mean);
        for (way, figures) in ways.iter().zip(&mut figures) {
            way.measure(figures).await;
        }
    }

    println!(
        "medians of {ROUNDS} rounds of {TIME:?}: events of {BODY_LEN} bytes over {CONNECTIONS} \
         connections\n"
    );
    println!(
        "| way | accepted per second | of `pgbench` | p50 ms at half load | p99 ms at half load \
         | handled per second by one worker | bytes per event | lost if |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let (rate, mean) = (median(&mut bench.0), median(&mut bench.1));
    println!("| `pgbench`, one commit per row | {rate:.0} | 1.00 | {mean:.2} (mean) | | | | |");
    for (way, figures) in ways.iter().zip(&mut figures) {
        let accepted = median(&mut figures.accepted);
        let handled = match figures.handled.is_empty() {
            true => String::new(),
            false => format!("{:.0}", median(&mut figures.handled)),
        };
        println!(
            "| {} | {accepted:.0} | {:.2} | {:.2} | {:.2} | {handled} | {} | {} |",
            way.name,
            accepted / rate,
            median(&mut figures.half),
            median(&mut figures.p99),
            figures.bytes.unwrap_or_default(),
            way.lost,
        );
    }
}

/// Sends at a constant rate, and watches memory and tables.
async fn soak() {
    const PARTS: u32 = 20;
    const RATE: f64 = 1_000.0;

    let time = env::var("SOUNDHASH_WEBHOOK_SOAK_SECONDS")
        .map_or(600, |seconds| seconds.parse().expect("a number of seconds"));
    let postgres = PostgresServer::start_with("on");
    let url = postgres.url();
    let database = ("SOUNDHASH_WEBHOOK_DATABASE", url.as_str());
    build("inbox");
    let way = package("inbox", database, Stored::Memory, ("", ""));
    let mut both = Command::new(way.program.get_program());
    both.env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
        .env("SOUNDHASH_WEBHOOK_DATABASE", &url);
    let receiver = Receiver::with_output(&both, Output::Discarded);
    println!("| seconds | accepted | memory MiB | database MiB | waiting jobs | p99 ms |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let (mut memory, mut waiting, mut all, start) = (Vec::new(), 0, 0, Instant::now());
    for _ in 0..PARTS {
        let part = Duration::from_secs(time) / PARTS;
        let (accepted, _, times) = send(&receiver.addr, Some(RATE), part).await;
        all += accepted;
        memory.push(receiver.resident() / 1024);
        let size = number(&url, "SELECT pg_database_size(current_database()) >> 20").await;
        waiting = number(&url, "SELECT count(*) FROM graphile_worker._private_jobs").await;
        println!(
            "| {} | {all} | {} | {size} | {waiting} | {:.1} |",
            start.elapsed().as_secs(),
            memory[memory.len() - 1],
            times[times.len() * 99 / 100].as_secs_f64() * 1e3,
        );
    }
    let (early, late) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    assert!(
        late <= early * 5 / 4 + 16,
        "the memory grows: {memory:?} MiB"
    );
    assert!(waiting < 10 * RATE as i64, "{waiting} jobs wait");
    assert_eq!(
        number(&url, "SELECT count(*) FROM soundhash_events").await as u64,
        all
    );
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [serves, way, url] = &arguments[..]
        && serves == "serve"
    {
        return serve(way, url).await;
    }
    // `cargo test --benches` runs benchmarks, too, but does not need figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let words: Vec<String> = arguments.into_iter().filter(|it| it != "--bench").collect();
    if words == ["soak"] {
        return soak().await;
    }
    let folder = env::temp_dir().join(format!("soundhash-webhook-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    compare(&words, &folder).await;
    let _ = fs::remove_dir_all(folder);
}
