//! `cargo run --example application --features metrics`
//!
//! A complete application around the webhook: shared state, routes that are not protected,
//! tower-http's layers, metrics, and a graceful shutdown. `GET /titles` lists the titles of
//! processed videos.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | must be set |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `RUST_LOG` | the filter of the log | `info` |

use std::{
    env,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::{get, post},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use soundhash_webhook::{
    BoxError, Event, EventData, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_server::{Server, shutdown_signal};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};
use tracing_subscriber::EnvFilter;

/// This is less than the 30 s that SoundHash waits.
const DEADLINE: Duration = Duration::from_secs(20);
/// The buckets for durations, from hashing to slow senders.
const SECONDS: [f64; 8] = [5e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0];

/// The titles of processed videos. Your application would have a pool of database connections here.
#[derive(Clone, Default)]
struct Titles(Arc<Mutex<Vec<String>>>);

#[derive(Clone)]
struct AppState {
    titles: Titles,
    metrics: PrometheusHandle,
}

impl FromRef<AppState> for Titles {
    fn from_ref(state: &AppState) -> Self {
        state.titles.clone()
    }
}

impl FromRef<AppState> for PrometheusHandle {
    fn from_ref(state: &AppState) -> Self {
        state.metrics.clone()
    }
}

async fn receive(State(titles): State<Titles>, event: Event) -> StatusCode {
    if let EventData::VideoProcessed(video) = event.data {
        let mut titles = titles.0.lock().unwrap_or_else(PoisonError::into_inner);
        titles.extend(video.title);
    }
    StatusCode::OK
}

async fn list(State(titles): State<Titles>) -> Json<Vec<String>> {
    let titles = titles.0.lock().unwrap_or_else(PoisonError::into_inner);
    Json(titles.clone())
}

async fn scrape(State(metrics): State<PrometheusHandle>) -> String {
    // Keeps the histograms small, as the exporter's own server would.
    metrics.run_upkeep();
    metrics.render()
}

fn app(secret: Secret, state: AppState) -> Router {
    // The first layer is the outermost. Only verified requests reach the second one.
    let webhook = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(secret))
        .layer(
            IdempotencyLayer::new(MemoryStore::new(100_000)).max_age(Duration::from_secs(15 * 60)),
        );
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .route_layer(webhook)
        // The verification does not protect routes that are added after it.
        .route("/titles", get(list))
        .route("/healthz", get(|| async { "ok" }))
        // In production, serve the metrics on an address that is not public.
        .route("/metrics", get(scrape))
        // These layers see every request. None of them touches the body of a request.
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(
            // SoundHash sends the event again.
            StatusCode::SERVICE_UNAVAILABLE,
            DEADLINE,
        ))
        .layer(TraceLayer::new_for_http())
        .with_state(state)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    // Installed first, so that a signal during the start also ends the program.
    let shutdown = shutdown_signal()?;
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let state = AppState {
        titles: Titles::default(),
        metrics: PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
            .install_recorder()?,
    };
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR");
    let listener = TcpListener::bind(addr.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    tracing::info!(
        "listening on http://{}/webhooks/soundhash",
        listener.local_addr()?
    );
    Server::new(listener)
        .serve(app(secret, state), shutdown)
        .await;
    tracing::info!("stopped");
    Ok(())
}
