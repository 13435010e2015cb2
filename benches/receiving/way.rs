//! The ways of receiving events, and the receivers that are not examples.

use std::{
    env, fs,
    future::pending,
    path::{Path, PathBuf},
    process::Command,
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
    Delivery, Event, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, Key, MemoryStore},
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_server::Server;
use soundhash_webhook_sqlx::{Backend, EventLog, EventLogError};
use soundhash_webhook_tests::process::{Output, Process, Receiver};
use sqlx::{
    Connection, PgConnection, Postgres, Sqlite,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{net::TcpListener, time::sleep};

use crate::{CONNECTIONS, SECRET};

/// A way of receiving events.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    program: Command,
    stored: Stored,
    /// Whether a worker handles the events, instead of the receiver.
    pub(crate) has_worker: bool,
    pub(crate) lost: &'static str,
}

/// Where the events are stored, so that their size can be measured.
pub(crate) enum Stored {
    Nowhere,
    Memory,
    Postgres(String),
    Redis(String),
    Folder(PathBuf),
}

impl Way {
    /// Returns a receiver that is part of this program. See [`serve`].
    pub(crate) fn own(name: &'static str, url: &str, stored: Stored, lost: &'static str) -> Self {
        let mut program = Command::new(env::current_exe().expect("this program"));
        program.args(["serve", name, url]);
        Self {
            name,
            program,
            stored,
            has_worker: false,
            lost,
        }
    }

    /// Returns a receiver that is an example in a separate package, which [`build`] has to build
    /// first.
    pub(crate) fn package(
        name: &'static str,
        (variable, url): (&str, &str),
        stored: Stored,
        lost: &'static str,
    ) -> Self {
        let mut program = program(name);
        program.env(variable, url);
        Self {
            name,
            program,
            stored,
            has_worker: true,
            lost,
        }
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(self.program.get_program());
        command
            .args(self.program.get_args())
            .args(self.has_worker.then_some(role))
            .env_remove("RUST_LOG")
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET);
        for (name, value) in self.program.get_envs() {
            command.env(name, value.expect("a value"));
        }
        command
    }

    pub(crate) fn receive(&self) -> Receiver {
        Receiver::with_output(&self.command("receive"), Output::Discarded)
    }

    /// Runs a worker until it has handled this many events.
    pub(crate) async fn work(&self, events: u64) {
        let acted = async || match &self.stored {
            Stored::Postgres(url) => number(url, "SELECT count(*) FROM acted_events").await as u64,
            _ => 0,
        };
        let before = acted().await;
        let worker = Process::start(&mut self.command("work"));
        let mut printed = 0;
        while acted().await - before + printed < events {
            sleep(Duration::from_millis(50)).await;
            printed += worker.lines().len() as u64;
        }
    }

    pub(crate) async fn checkpoint(&self) {
        if let Stored::Postgres(url) = &self.stored {
            checkpoint(url).await;
        }
    }

    /// Returns the number of bytes that the events occupy.
    pub(crate) async fn bytes(&self, receiver: &Receiver) -> u64 {
        match &self.stored {
            Stored::Nowhere => 0,
            Stored::Memory => receiver.process.resident() * 1024,
            Stored::Postgres(url) => {
                number(url, "SELECT pg_database_size(current_database())").await as u64
            }
            Stored::Redis(url) => {
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
            Stored::Folder(folder) => bytes_in(folder),
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

pub(crate) async fn execute(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres");
    let run = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
    run.execute(&mut connection).await.expect("it succeeds");
}

/// Makes Postgres write everything to disk, so that it does not do so during a measurement.
pub(crate) async fn checkpoint(url: &str) {
    execute(url, "CHECKPOINT".to_owned()).await;
}

/// Returns the number that a query selects.
pub(crate) async fn number(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    number.expect("a number")
}

fn package_name(name: &str) -> String {
    format!("soundhash-webhook-{name}-example")
}

/// Returns the directory with the profile's binaries. This program is at
/// `target/release/deps/receiving-<hash>`.
fn profile() -> PathBuf {
    let bench = env::current_exe().expect("this program");
    let profile = bench.ancestors().nth(2).expect("the profile's folder");
    profile.to_owned()
}

pub(crate) fn program(name: &str) -> Command {
    Command::new(profile().join(package_name(name)))
}

pub(crate) fn build(name: &str) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", &package_name(name)])
        .args(profile().ends_with("release").then_some("--profile=bench"))
        .arg("--target-dir")
        .arg(profile().parent().expect("the target folder"))
        .status();
    assert!(status.expect("cargo").success(), "{name} does not build");
}

/// A database to which a handler can write its effects.
trait Effects: Backend {
    fn act(tx: &mut Self::Connection, key: String)
    -> impl Future<Output = sqlx::Result<()>> + Send;
    fn create(log: &EventLog<Self>) -> impl Future<Output = ()> + Send;
}

macro_rules! effects {
    ($Database:ty) => {
        impl Effects for $Database {
            async fn act(tx: &mut Self::Connection, key: String) -> sqlx::Result<()> {
                let insert = sqlx::query("INSERT INTO acted VALUES ($1)").bind(key);
                insert.execute(tx).await.map(drop)
            }

            async fn create(log: &EventLog<Self>) {
                let mut tx = log.begin().await.expect("a transaction");
                let create = sqlx::raw_sql("CREATE TABLE IF NOT EXISTS acted (event_key text)");
                create.execute(&mut *tx).await.expect("a table");
                tx.commit().await.expect("a commit");
            }
        }
    };
}

effects!(Postgres);
effects!(Sqlite);

/// A handler whose only effect is to insert one row.
async fn insert<DB: Effects>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    DB::act(&mut tx, Key::from(&delivery).to_string()).await?;
    tx.commit().await?;
    Ok(StatusCode::OK)
}

/// Like [`insert`], but with `record`.
async fn record<DB: Effects>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    if log.record(&mut tx, &delivery).await?.is_duplicate() {
        return Ok(StatusCode::CONFLICT);
    }
    DB::act(&mut tx, Key::from(&delivery).to_string()).await?;
    tx.commit().await?;
    Ok(StatusCode::OK)
}

async fn accept<DB: Effects>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    log.accept(&delivery).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn with_log<DB: Effects>(way: &str, log: EventLog<DB>) -> MethodRouter {
    log.migrate().await.expect("a table");
    DB::create(&log).await;
    let handler = match way.split_once(',') {
        Some(("record", _)) => post(record::<DB>),
        Some(("accept", _)) => post(accept::<DB>),
        _ => post(insert::<DB>),
    };
    handler.with_state(log)
}

pub(crate) async fn postgres(url: &str) -> EventLog<Postgres> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
    EventLog::new(pool.connect(url).await.expect("Postgres"))
}

pub(crate) async fn sqlite(file: &str) -> EventLog<Sqlite> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_mode", "wal");
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await;
    EventLog::new(pool.expect("SQLite"))
}

pub(crate) async fn serve(way: &str, url: &str) {
    let handler = || post(async |_: Event| StatusCode::OK);
    let mut webhook: MethodRouter = match way {
        "no layer" => post(async |body: Bytes| match Event::from_slice(&body) {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::BAD_REQUEST,
        }),
        "layer alone" => handler(),
        "`MemoryStore`" => handler().layer(IdempotencyLayer::new(MemoryStore::new(1_000_000))),
        "`RedisStore`" => {
            let store = RedisStore::connect(url.to_owned()).await.expect("Redis");
            handler().layer(IdempotencyLayer::new(store))
        }
        _ if url.starts_with("postgres") => with_log(way, postgres(url).await).await,
        _ => with_log(way, sqlite(url).await).await,
    };
    if way != "no layer" {
        webhook = webhook.layer(SoundHashWebhookLayer::new(SECRET));
    }
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").expect("an address");
    let listener = TcpListener::bind(addr).await.expect("a free port");
    let app = Router::new().route("/webhooks/soundhash", webhook);
    Server::new(listener).serve(app, pending()).await;
}
