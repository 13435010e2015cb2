//! The application: its state, its routes and its database.

use std::{
    error::Error,
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    error_handling::HandleErrorLayer,
    extract::{FromRef, Request, State},
    http::StatusCode,
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use soundhash_webhook::{BoxError, Delivery, Event, EventData, Secret, SoundHashWebhookLayer};
use soundhash_webhook_sqlx::{EventLog, EventLogError};
use sqlx::{
    Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tokio::time::timeout;
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::{
    timeout::TimeoutLayer,
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::{Level, Span, debug_span};

/// The request timeout, which is shorter than the 30 s that SoundHash waits.
const DEADLINE: Duration = Duration::from_secs(20);

/// The timeout of the internal requests, which load balancers repeat every few seconds.
const HEALTH_DEADLINE: Duration = Duration::from_secs(3);

/// The maximum time for closing the database. A request can still use a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of concurrent requests for the titles.
const LISTS: usize = 8;

/// The state shared by the handlers.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The connections of the unsigned routes, so that deliveries never wait for them.
    reader: SqlitePool,
    /// The only connection that writes.
    writer: SqlitePool,
    log: EventLog<Sqlite>,
    metrics: PrometheusHandle,
    is_stopping: Arc<AtomicBool>,
}

impl AppState {
    /// Opens the database, and creates the tables. `database` is the name of an SQLite file, or its
    /// URL.
    ///
    /// # Errors
    ///
    /// Returns an error if `database` is the URL of another database, or if the file cannot be opened
    /// or is not a database.
    pub async fn open(database: &str, metrics: PrometheusHandle) -> Result<Self, BoxError> {
        let options = options(database)?;
        let file = options.get_filename().to_owned();
        let opened = Self::open_with(options, metrics).await;
        opened
            .map_err(|error| format!("cannot open {}: {}", file.display(), causes(&*error)).into())
    }

    async fn open_with(
        options: SqliteConnectOptions,
        metrics: PrometheusHandle,
    ) -> Result<Self, BoxError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(5));
        // SQLite has one writer at a time.
        let writer = SqlitePoolOptions::new().max_connections(1);
        let writer = writer.connect_with(options.clone()).await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS titles (title TEXT NOT NULL)")
            .execute(&writer)
            .await?;
        let log = EventLog::new(writer.clone());
        log.migrate().await?;
        let reader = SqlitePool::connect_with(options.read_only(true)).await?;
        Ok(Self {
            reader,
            writer,
            log,
            metrics,
            is_stopping: Arc::default(),
        })
    }

    /// Makes the health check fail, so that a load balancer chooses another instance while this one
    /// completes its last requests.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Closes the database, so that SQLite removes its `-wal` file. Otherwise, SQLite would apply
    /// that file to a backup that you restore. Returns after five seconds at the latest.
    pub async fn close(&self) {
        let close = async {
            self.reader.close().await;
            // The last connection to close removes the file, which a read-only one cannot do.
            self.writer.close().await;
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }
}

/// Parses the name of an SQLite file, or its URL. The command `soundhash-webhook` takes only a URL,
/// and both must open the same file.
fn options(database: &str) -> Result<SqliteConnectOptions, BoxError> {
    if database.starts_with("sqlite:") {
        return Ok(database.parse()?);
    }
    let (scheme, rest) = database.split_once(':').unwrap_or_default();
    // A single letter is a drive in Windows.
    let is_scheme = scheme.len() > 1 && scheme.bytes().all(|it| it.is_ascii_alphabetic());
    if is_scheme || rest.starts_with("//") {
        // The error does not repeat the URL, which can contain a password.
        return Err(
            "this URL is not of an SQLite database: use sqlite:FILE, or a file name".into(),
        );
    }
    Ok(SqliteConnectOptions::new().filename(database))
}

/// Returns an error's text with its causes.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = iter::successors(error.source(), |error| (*error).source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

// These impls let a handler take only the part of the state that it needs.
impl FromRef<AppState> for SqlitePool {
    fn from_ref(state: &AppState) -> Self {
        state.reader.clone()
    }
}

impl FromRef<AppState> for EventLog<Sqlite> {
    fn from_ref(state: &AppState) -> Self {
        state.log.clone()
    }
}

impl FromRef<AppState> for PrometheusHandle {
    fn from_ref(state: &AppState) -> Self {
        state.metrics.clone()
    }
}

/// Returns the application's public routes.
pub fn app(secret: Secret, state: AppState) -> Router {
    // Anyone can request the titles, so further requests get a 503 instead of waiting.
    let limit = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| {
            StatusCode::SERVICE_UNAVAILABLE
        }))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(LISTS));
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .route_layer(SoundHashWebhookLayer::new(secret))
        // `route_layer` does not protect routes added after it.
        .route("/titles", get(list).layer(limit))
        // These layers see every request. None of them reads or changes the request body.
        // `CompressionLayer` is not among them: it keeps about 300 kB in memory for each response
        // that a peer does not read.
        .layer(TimeoutLayer::with_status_code(
            // With this status, SoundHash sends the event again.
            StatusCode::SERVICE_UNAVAILABLE,
            DEADLINE,
        ))
        // An attacker can cause many responses with 503. The webhook's layer and `EventLog` log them
        // with a limit.
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(DefaultOnFailure::new().level(Level::DEBUG)),
        )
        .with_state(state)
}

/// Returns the span of a request. The default span shows the URI as the sender wrote it.
fn span(request: &Request) -> Span {
    debug_span!("request", method = %request.method(), path = ?request.uri().path())
}

/// Returns the routes for the operator and the load balancer. Serve them on a private address,
/// because each request costs more than the rejection of a forged delivery.
pub fn internal(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(scrape))
        // A disk can hang.
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            HEALTH_DEADLINE,
        ))
        .with_state(state)
}

async fn receive(
    State(log): State<EventLog<Sqlite>>,
    event: Event,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    // The record and the effects of the event are committed together or not at all.
    let mut tx = log.begin().await?;
    if log.record(&mut tx, &delivery).await?.is_duplicate() {
        return Ok(StatusCode::OK);
    }
    add_title(&mut tx, event).await?;
    tx.commit().await?;
    Ok(StatusCode::OK)
}

async fn add_title(tx: &mut SqliteConnection, event: Event) -> sqlx::Result<()> {
    if let EventData::VideoProcessed(video) = event.data
        && let Some(title) = video.title
    {
        sqlx::query("INSERT INTO titles VALUES ($1)")
            .bind(title)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Lists the latest titles. Anyone can send this request, and a peer that reads none of its responses
/// keeps each of them in memory, so the response is kept short.
async fn list(State(reader): State<SqlitePool>) -> Result<Json<Vec<String>>, StatusCode> {
    let latest = "SELECT substr(title, 1, 100) FROM titles ORDER BY rowid DESC LIMIT 20";
    let titles = sqlx::query_scalar(latest).fetch_all(&reader).await;
    // Anyone could fill the disk with log lines. The health check fails, too.
    titles
        .map(Json)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Responds with 503 if the database cannot be read or the program is stopping, so that a load
/// balancer chooses another instance.
async fn healthz(State(state): State<AppState>) -> StatusCode {
    if state.is_stopping.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let read = sqlx::query("SELECT title FROM titles LIMIT 1");
    match read.execute(&state.reader).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn scrape(State(metrics): State<PrometheusHandle>) -> String {
    metrics.render()
}
