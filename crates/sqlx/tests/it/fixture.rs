//! A common interface to both databases, so that each test is written once and runs on both.

use std::{
    env, fs,
    path::PathBuf,
    process::id,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request, routing::post};
use serde_json::{Value, json};
use soundhash_webhook::{
    Delivery, Secret, Secrets, Sender, SoundHashWebhookLayer, testing::SignedRequest,
};
use soundhash_webhook_sqlx::{Backend, EventLog, EventLogError, Recorded};
use soundhash_webhook_tests::postgres_server::PostgresServer;
use sqlx::{
    Pool, Postgres, Sqlite,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::sleep;
use tower::ServiceExt;

pub(crate) const SECRET: &str = "whsec_test";

/// A database for a single test. It is removed when the last `Database` value for it is dropped.
pub(crate) trait Fixture: Backend {
    const IS_SQLITE: bool;
    /// A statement that makes the event log's table reject events of type `poison`.
    const REJECT_POISON: &'static str;
    /// A statement that makes `acted` reject keys that contain `poison` or `locked`.
    const REJECT_JOBS: &'static str;
    type Database: Send + Sync;

    fn create() -> impl Future<Output = Self::Database> + Send;
    fn url(database: &Self::Database) -> String;
    fn pool(url: &str, connections: u32) -> impl Future<Output = Pool<Self>> + Send;
    /// Creates the user's own table, `acted`.
    fn prepare(pool: &Pool<Self>) -> impl Future<Output = ()> + Send;
    /// Inserts the effect of an event: a row in `acted`, which has no constraints.
    fn act(
        connection: &mut Self::Connection,
        key: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Returns the sorted keys of all rows in `acted`.
    fn acted(pool: &Pool<Self>) -> impl Future<Output = Vec<String>> + Send;
    fn run(pool: &Pool<Self>, sql: &'static str) -> impl Future<Output = sqlx::Result<()>> + Send;
    fn run_on(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Waits until a connection waits for a lock. SQLite does not report this, so on SQLite, this
    /// takes a fixed time.
    fn wait_for_contention(pool: &Pool<Self>) -> impl Future<Output = ()> + Send;
}

const PATIENCE: Duration = Duration::from_mins(1);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A database on the server that all tests in a process share.
pub(crate) struct PostgresDatabase {
    server: Arc<PostgresServer>,
    name: String,
}

fn shared_server() -> Arc<PostgresServer> {
    static SERVER: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(PostgresServer::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

macro_rules! steps {
    () => {
        async fn prepare(pool: &Pool<Self>) {
            Self::run(pool, "CREATE TABLE acted (event_key text)")
                .await
                .expect("a table");
        }

        async fn act(connection: &mut Self::Connection, key: &str) -> sqlx::Result<()> {
            let insert = sqlx::query("INSERT INTO acted VALUES ($1)").bind(key.to_owned());
            insert.execute(connection).await.map(drop)
        }

        async fn acted(pool: &Pool<Self>) -> Vec<String> {
            let select = sqlx::query_scalar("SELECT event_key FROM acted ORDER BY event_key");
            select.fetch_all(pool).await.expect("the rows")
        }

        async fn run(pool: &Pool<Self>, sql: &'static str) -> sqlx::Result<()> {
            sqlx::raw_sql(sql).execute(pool).await.map(drop)
        }

        async fn run_on(connection: &mut Self::Connection, sql: &'static str) -> sqlx::Result<()> {
            sqlx::raw_sql(sql).execute(connection).await.map(drop)
        }
    };
}

impl Fixture for Postgres {
    const IS_SQLITE: bool = false;
    const REJECT_POISON: &'static str =
        "ALTER TABLE soundhash_events ADD CHECK (event_type <> 'poison')";
    // A lock error belongs to a different error class than a raised exception, so the trigger
    // raises both.
    const REJECT_JOBS: &'static str =
        "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF new.event_key LIKE '%locked%' THEN RAISE lock_not_available; END IF;
            IF new.event_key LIKE '%poison%' THEN RAISE 'a poisoned event'; END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER reject BEFORE INSERT ON acted FOR EACH ROW EXECUTE FUNCTION reject()";
    type Database = PostgresDatabase;

    async fn create() -> PostgresDatabase {
        let server = shared_server();
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let pool = Self::pool(&server.url(), 1).await;
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create)
            .execute(&pool)
            .await
            .expect("a database");
        PostgresDatabase { server, name }
    }

    fn url(database: &PostgresDatabase) -> String {
        let url = database.server.url();
        let (server, _) = url.rsplit_once('/').expect("the name of a database");
        format!("{server}/{}", database.name)
    }

    async fn pool(url: &str, connections: u32) -> Pool<Self> {
        let options = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(20));
        options.connect(url).await.expect("a connection")
    }

    async fn wait_for_contention(pool: &Pool<Self>) {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND datname = current_database()";
        let count = async || -> i64 { sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap() };
        let start = Instant::now();
        while count().await == 0 {
            assert!(start.elapsed() < PATIENCE, "no connection waits for a lock");
            sleep(Duration::from_millis(5)).await;
        }
    }

    steps!();
}

/// A directory with an SQLite file.
pub(crate) struct SqliteDatabase {
    pub(crate) folder: PathBuf,
}

impl Drop for SqliteDatabase {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn sqlite_options(url: &str) -> SqliteConnectOptions {
    let path = url.strip_prefix("sqlite://").expect("an URL of SQLite");
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(20))
}

impl Fixture for Sqlite {
    const IS_SQLITE: bool = true;
    const REJECT_POISON: &'static str = "CREATE TRIGGER reject BEFORE INSERT ON soundhash_events
        WHEN new.event_type = 'poison' BEGIN SELECT RAISE(ABORT, 'poison'); END";
    const REJECT_JOBS: &'static str = "CREATE TRIGGER reject_jobs BEFORE INSERT ON acted
        WHEN new.event_key LIKE '%poison%' OR new.event_key LIKE '%locked%'
        BEGIN SELECT RAISE(ABORT, 'a poisoned event'); END";
    type Database = SqliteDatabase;

    async fn create() -> SqliteDatabase {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("soundhash-webhook-sqlite-{}-{count}", id()));
        fs::create_dir_all(&folder).expect("a folder");
        SqliteDatabase { folder }
    }

    fn url(database: &SqliteDatabase) -> String {
        format!("sqlite://{}/events.db", database.folder.display())
    }

    async fn pool(url: &str, connections: u32) -> Pool<Self> {
        let options = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(20));
        options
            .connect_with(sqlite_options(url))
            .await
            .expect("a connection")
    }

    async fn wait_for_contention(_: &Pool<Self>) {
        sleep(Duration::from_millis(200)).await;
    }

    steps!();
}

/// Returns a database with a migrated log and the user's own table.
pub(crate) async fn log<DB: Fixture>() -> (DB::Database, Pool<DB>, EventLog<DB>) {
    let database = DB::create().await;
    let pool = DB::pool(&DB::url(&database), 10).await;
    DB::prepare(&pool).await;
    let log = EventLog::new(pool.clone());
    log.migrate().await.expect("a table");
    (database, pool, log)
}

/// Opens connections in advance, because on a busy machine this takes long.
pub(crate) async fn open<DB: Fixture>(pool: &Pool<DB>, connections: u32) {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(pool.acquire().await.unwrap());
    }
    drop(open);
    while pool.num_idle() < connections as usize {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Records the event in a separate transaction.
pub(crate) async fn record<DB: Fixture>(
    log: &EventLog<DB>,
    delivery: &Delivery,
) -> Result<Recorded, EventLogError> {
    let mut tx = log.begin().await?;
    let recorded = log.record(&mut tx, delivery).await?;
    tx.commit().await?;
    Ok(recorded)
}

pub(crate) fn event(id: &str) -> Value {
    json!({
        "id": id, "type": "video.processed", "created_at": "2026-11-23T08:56:12.681555+00:00Z",
        "data": {"video_id": 7, "title": "A song"},
    })
}

/// Returns the verified delivery of this body.
pub(crate) async fn delivery_of(body: impl Into<axum::body::Bytes>) -> Delivery {
    deliver(SignedRequest::new(SECRET).body(body).build(), None).await
}

pub(crate) async fn delivery(id: &str) -> Delivery {
    let request = SignedRequest::new(SECRET).event(Sender::Dispatcher, &event(id));
    deliver(request.build(), None).await
}

/// Returns the delivery that the layer passes to the handler, including the name of its endpoint.
pub(crate) async fn deliver(request: Request<Body>, endpoint: Option<&str>) -> Delivery {
    let found = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&found);
    let handler = move |delivery: Delivery| async move {
        *keep.lock().expect("no panic") = Some(delivery);
    };
    let mut secrets = Secrets::new(Secret::new(SECRET));
    if let Some(endpoint) = endpoint {
        secrets = secrets.endpoint(endpoint);
    }
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(SoundHashWebhookLayer::with_provider(secrets));
    let response = app.oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    found.lock().expect("no panic").take().expect("a delivery")
}
