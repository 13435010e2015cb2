//! `cargo run -p soundhash-webhook-application-example`
//!
//! A complete application around the webhook: shared state, a database, unprotected routes,
//! tower-http's layers, metrics, and a graceful shutdown. `GET /titles` lists the titles of
//! processed videos. `tests/application.rs` tests the application.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | must be set |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_METRICS_ADDR` | the private address of the metrics and the health check | `127.0.0.1:9464` |
//! | `SOUNDHASH_WEBHOOK_DATABASE` | the SQLite file, or its URL, such as `sqlite:application.db` | `application.db` |
//! | `RUST_LOG` | the filter of the log | `info,h2=error,sqlx=error` |

use std::{env, future::pending, io, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use soundhash_webhook::{BoxError, Secret};
use soundhash_webhook_application_example::{AppState, app, internal};
use soundhash_webhook_server::{Server, shutdown_signal};
use tokio::{
    net::TcpListener,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing_subscriber::EnvFilter;

const DATABASE: &str = "SOUNDHASH_WEBHOOK_DATABASE";

/// The buckets for durations, which range from hashing a body to waiting for a slow sender.
const SECONDS: [f64; 10] = [5e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 5.0, 30.0];
/// The buckets for sizes. Without buckets, the exporter creates summaries, which dashboards cannot
/// use.
const BYTES: [f64; 6] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // An attacker can cause any number of warnings from `h2` and `sqlx`.
    let filter = variable("RUST_LOG", "info,h2=error,sqlx=error");
    let filter = EnvFilter::try_new(filter)?;
    // A separate thread writes the log, so that a slow reader does not delay deliveries.
    let (log, written) = tracing_appender::non_blocking(io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        // If stderr is closed, printing an internal error would panic.
        .log_internal_errors(false)
        .init();
    // The signal handler is installed first, so that a signal during startup also stops the
    // program.
    let shutdown = shutdown_signal()?;
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
        .install_recorder()?;
    tokio::spawn(keep_small(metrics.clone()));
    let state = AppState::open(&variable(DATABASE, "application.db"), metrics).await;
    let state = state.map_err(|error| format!("{DATABASE}: {error}"))?;
    let listener = bind("SOUNDHASH_WEBHOOK_METRICS_ADDR", "127.0.0.1:9464").await?;
    tracing::info!("metrics at http://{}/metrics", listener.local_addr()?);
    let server = Server::new(listener).max_connections(16);
    tokio::spawn(server.serve(internal(state.clone()), pending()));
    let listener = bind("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:3000").await?;
    tracing::info!(
        "listening on http://{}/webhooks/soundhash",
        listener.local_addr()?
    );
    let stopping = state.clone();
    let shutdown = async move {
        shutdown.await;
        stopping.stop();
    };
    Server::new(listener)
        .serve(app(secret, state.clone()), shutdown)
        .await;
    state.close().await;
    tracing::info!("stopped");
    // This waits up to a second for the rest of the log to be written.
    let _ = timeout(Duration::from_secs(1), spawn_blocking(|| drop(written))).await;
    Ok(())
}

/// Keeps the histograms small, even if nothing requests the metrics. The exporter's own HTTP server
/// would do this automatically.
async fn keep_small(metrics: PrometheusHandle) {
    loop {
        metrics.run_upkeep();
        sleep(Duration::from_secs(5)).await;
    }
}

/// Listens on the address in a variable.
async fn bind(name: &str, default: &str) -> Result<TcpListener, BoxError> {
    let addr = variable(name, default);
    let bound = TcpListener::bind(&addr).await;
    bound.map_err(|error| format!("{name}: cannot listen on {addr:?}: {error}").into())
}

/// Returns the value of a variable, or `default` if it is not set or empty. A compose file passes an
/// unset variable as an empty one.
fn variable(name: &str, default: &str) -> String {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| default.into())
}
