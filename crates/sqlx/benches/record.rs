//! `cargo bench -p soundhash-webhook-sqlx --all-features`
//!
//! Measures the cost of recording events. Compare figures within one run, not between machines.
//! Postgres and `redis-server` must be installed.

#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::{
    env, fs,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{Router, body::Body, extract::State, http::Request, http::StatusCode, routing::post};
use soundhash_webhook::{
    Delivery, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer,
    idempotency::{Claim, IdempotencyStore, Key},
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_sqlx::{Backend, EventFilter, EventLog, EventLogError, SqlxStore};
use soundhash_webhook_tests::{postgres_server::PostgresServer, redis_server::RedisServer};
use sqlx::{
    PgPool, Pool, Postgres, Sqlite, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tokio::task::JoinSet;
use tower::ServiceExt;

const SECRET: &str = "whsec_test";
const CONCURRENCY: usize = 32;
const LONG: Duration = Duration::from_hours(1);
const ROWS: u64 = 1_000_000;

/// Different in each measurement, so that no event is a duplicate.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Digits that hardly compress. They are created once, so that their cost is not measured.
fn filler() -> &'static str {
    static FILLER: LazyLock<String> = LazyLock::new(|| {
        let digits =
            (1_u64..20_000).map(|i| format!("{:016x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        digits.collect()
    });
    &FILLER
}

fn request(len: usize) -> Request<Body> {
    let id = NUMBER.fetch_add(1, Ordering::Relaxed);
    let head = format!(r#"{{"id": "{id:022}", "type": "video.processed", "data": {{"title": ""#);
    let title = &filler()[..len - head.len() - 3];
    let body = format!("{head}{title}\"}}}}");
    let signature = Secret::new(SECRET).sign(body.as_bytes()).to_string();
    let request = Request::post("/").header(SIGNATURE_HEADER, signature);
    request.body(Body::from(body)).expect("a request")
}

/// A database with the table of the handler's effects.
trait Bench: Backend {
    const TITLE: &'static str;

    fn act(tx: &mut Self::Connection, key: String)
    -> impl Future<Output = sqlx::Result<()>> + Send;
    fn run(pool: &Pool<Self>, sql: String) -> impl Future<Output = ()> + Send;
    fn size(pool: &Pool<Self>) -> impl Future<Output = i64> + Send;
    fn fill(rows: u64) -> String;
}

macro_rules! steps {
    () => {
        async fn act(tx: &mut Self::Connection, key: String) -> sqlx::Result<()> {
            let insert = sqlx::query("INSERT INTO acted VALUES ($1)").bind(key);
            insert.execute(tx).await.map(drop)
        }

        async fn run(pool: &Pool<Self>, sql: String) {
            let run = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await;
            run.expect("it succeeds");
        }
    };
}

impl Bench for Postgres {
    const TITLE: &'static str = "Postgres";

    async fn size(pool: &PgPool) -> i64 {
        let size = "SELECT pg_total_relation_size('soundhash_events')";
        sqlx::query_scalar(size)
            .fetch_one(pool)
            .await
            .expect("a size")
    }

    fn fill(rows: u64) -> String {
        format!(
            "INSERT INTO soundhash_events (event_key, recorded, event_type, received_at, body)
             SELECT 't' || lpad(i::text, 22, '0'), TRUE, 'video.processed',
             timestamptz 'epoch' + i * interval '1 second', decode(repeat('0a', 300), 'hex')
             FROM generate_series(1, {rows}) AS i"
        )
    }

    steps!();
}

impl Bench for Sqlite {
    const TITLE: &'static str = "SQLite";

    async fn size(pool: &SqlitePool) -> i64 {
        let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        sqlx::query_scalar(size)
            .fetch_one(pool)
            .await
            .expect("a size")
    }

    fn fill(rows: u64) -> String {
        format!(
            "INSERT INTO soundhash_events (event_key, recorded, event_type, received_at, body)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT 't' || printf('%022d', i), TRUE, 'video.processed', i * 1000000, zeroblob(300)
             FROM n"
        )
    }

    steps!();
}

async fn with_record<DB: Bench>(
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

async fn without_record<DB: Bench>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let mut tx = log.begin().await?;
    DB::act(&mut tx, Key::from(&delivery).to_string()).await?;
    tx.commit().await?;
    Ok(StatusCode::OK)
}

/// Events per second of the handler.
async fn rate(app: &Router, body_len: usize, time: Duration) -> f64 {
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (app, count) = (app.clone(), Arc::clone(&count));
        senders.spawn(async move {
            while start.elapsed() < time {
                let response = app
                    .clone()
                    .oneshot(request(body_len))
                    .await
                    .expect("a response");
                assert_eq!(response.status(), StatusCode::OK);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    senders.join_all().await;
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn record<DB: Bench>(pool: &Pool<DB>) {
    let time = Duration::from_secs(5);
    let log = EventLog::new(pool.clone()).lock_timeout(LONG);
    let layer = SoundHashWebhookLayer::new(SECRET);
    let without = post(without_record::<DB>).layer(layer.clone());
    let without = Router::new().route("/", without).with_state(log.clone());
    let with = post(with_record::<DB>).layer(layer);
    let with = Router::new().route("/", with).with_state(log.clone());
    for body_len in [300, 200_000] {
        // The measurements alternate, so that both have the same conditions.
        let mut rates = [0.0_f64; 2];
        for _ in 0..2 {
            rates[0] = rates[0].max(rate(&without, body_len, time).await);
            rates[1] = rates[1].max(rate(&with, body_len, time).await);
        }
        println!(
            "{}, bodies of {body_len} B: {:.0} events/s without record, {:.0} with: {:.0} %",
            DB::TITLE,
            rates[0],
            rates[1],
            100.0 * rates[1] / rates[0],
        );
    }
}

async fn prepare<DB: Bench>(pool: &Pool<DB>) {
    let log = EventLog::new(pool.clone());
    log.migrate().await.expect("a table");
    DB::run(pool, "CREATE TABLE acted (event_key text)".to_owned()).await;
}

async fn with_accept<DB: Bench>(
    State(log): State<EventLog<DB>>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    log.accept(&delivery).await?;
    Ok(StatusCode::OK)
}

/// Measures `accept` alone, and with the job of each event.
async fn accept<DB: Bench>(pool: &Pool<DB>) {
    let plain = EventLog::new(pool.clone()).lock_timeout(LONG);
    let jobs = plain.clone().enqueue(|connection, deliveries| {
        Box::pin(async move {
            for delivery in deliveries {
                DB::act(connection, Key::from(delivery).to_string()).await?;
            }
            Ok(())
        })
    });
    for (title, log) in [("accept", plain), ("accept with a job", jobs)] {
        let handler = post(with_accept::<DB>).layer(SoundHashWebhookLayer::new(SECRET));
        let app = Router::new().route("/", handler).with_state(log);
        for _ in 0..2 {
            let rate = rate(&app, 700, Duration::from_secs(5)).await;
            println!(
                "{}: {title}, bodies of 700 B: {rate:.0} events/s",
                DB::TITLE
            );
        }
    }
}

/// The limit of the server: commits of the same row by `pgbench` on as many connections.
async fn pgbench(server: &PostgresServer, pool: &PgPool) {
    let table = "CREATE TABLE limits (event_key text COLLATE \"C\" PRIMARY KEY, body bytea)";
    Postgres::run(pool, table.to_owned()).await;
    let script = env::temp_dir().join(format!("soundhash-webhook-{}.sql", std::process::id()));
    let insert = "INSERT INTO limits VALUES (gen_random_uuid()::text, \
        decode(repeat('0a', 700), 'hex'));";
    fs::write(&script, insert).expect("a script");
    for _ in 0..2 {
        let clients = CONCURRENCY.to_string();
        let output = std::process::Command::new("pgbench")
            .args([
                "-n", "-j", "2", "-T", "5", "-M", "prepared", "-c", &clients, "-f",
            ])
            .arg(&script)
            .arg(server.url())
            .output()
            .expect("pgbench (apt-get install postgresql) runs");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = output.lines();
        lines
            .filter(|line| line.starts_with("tps") || line.starts_with("latency average"))
            .for_each(|line| println!("pgbench, rows of 700 B: {line}"));
    }
    let _ = fs::remove_file(script);
}

async fn space_and_purge<DB: Bench>(pool: &Pool<DB>) {
    DB::run(pool, "DELETE FROM soundhash_events".to_owned()).await;
    let vacuum = if DB::TITLE == "Postgres" {
        "VACUUM FULL"
    } else {
        "VACUUM"
    };
    DB::run(pool, vacuum.to_owned()).await;
    let before = DB::size(pool).await;
    DB::run(pool, DB::fill(ROWS)).await;
    let size = DB::size(pool).await - before;
    println!(
        "{}: a row takes {} B for a body of 300 B and a key of 23 B",
        DB::TITLE,
        size / i64::try_from(ROWS).expect("a number"),
    );
    let log = EventLog::new(pool.clone());
    let start = Instant::now();
    let listed = log.list(&EventFilter::new()).await.expect("a list");
    println!(
        "{}: {} of a million listed in {:.1?}",
        DB::TITLE,
        listed.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let purged = log.purge(SystemTime::now()).await.expect("a purge");
    let took = start.elapsed();
    println!(
        "{}: {purged} rows purged in {took:.1?}, {:.0} rows/s",
        DB::TITLE,
        purged as f64 / took.as_secs_f64(),
    );
}

/// Claims and completions per second.
async fn store_rate<S: IdempotencyStore>(store: Arc<S>, concurrency: usize) -> f64 {
    let time = Duration::from_secs(3);
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..concurrency {
        let (store, count) = (Arc::clone(&store), Arc::clone(&count));
        senders.spawn(async move {
            while start.elapsed() < time {
                let id = NUMBER.fetch_add(1, Ordering::Relaxed);
                let key = Key::new(&format!("t{id:022}"));
                let Ok(Claim::Acquired(token)) = store.claim(&key, LONG).await else {
                    panic!("a new key cannot be claimed");
                };
                assert!(
                    store
                        .complete(&key, token, LONG)
                        .await
                        .expect("a completion")
                );
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    senders.join_all().await;
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn stores(postgres: &PgPool, sqlite: &SqlitePool) {
    let server = RedisServer::start();
    let redis = Arc::new(
        RedisStore::connect(&*server.url())
            .await
            .expect("a connection"),
    );
    let postgres = Arc::new(SqlxStore::new(EventLog::new(postgres.clone())));
    let sqlite = Arc::new(SqlxStore::new(EventLog::new(sqlite.clone())));
    for concurrency in [1, CONCURRENCY] {
        let rates = [
            store_rate(Arc::clone(&redis), concurrency).await,
            store_rate(Arc::clone(&postgres), concurrency).await,
            store_rate(Arc::clone(&sqlite), concurrency).await,
        ];
        println!(
            "claim and complete, {concurrency} at a time: RedisStore {:.0}/s, SqlxStore on \
             Postgres {:.0}/s ({:.0} %), on SQLite {:.0}/s ({:.0} %)",
            rates[0],
            rates[1],
            100.0 * rates[1] / rates[0],
            rates[2],
            100.0 * rates[2] / rates[0],
        );
    }
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs benchmarks, too, but does not need figures.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = PostgresServer::start_with("on");
    let postgres = PgPoolOptions::new()
        .max_connections(40)
        .connect(&server.url())
        .await;
    let postgres = postgres.expect("a connection");
    let folder = env::temp_dir().join(format!("soundhash-webhook-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.join("events.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(20));
    let sqlite = SqlitePool::connect_with(options)
        .await
        .expect("a connection");

    prepare(&postgres).await;
    prepare(&sqlite).await;
    pgbench(&server, &postgres).await;
    accept(&postgres).await;
    accept(&sqlite).await;
    record(&postgres).await;
    record(&sqlite).await;
    stores(&postgres, &sqlite).await;
    space_and_purge(&postgres).await;
    space_and_purge(&sqlite).await;
    sqlite.close().await;
    let _ = fs::remove_dir_all(folder);
}
