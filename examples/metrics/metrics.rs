//! `cargo run --example metrics --features metrics`
//!
//! Receives SoundHash webhooks like the `receiver` example, and serves the crate's metrics to
//! Prometheus at `GET /metrics`. The metrics are served on a separate address, which should not be
//! reachable from the internet.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_METRICS_ADDR` | the address of the metrics | `127.0.0.1:9464` |
//! | `RUST_LOG` | the filter of the log | `info,h2=error` |

use std::{future::pending, process::ExitCode, time::Duration};

use axum::{
    Router,
    http::header,
    routing::{MethodRouter, get, post},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use soundhash_webhook::{
    BoxError,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_server::Server;
use tokio::{net::TcpListener, time::sleep};
use tracing::info;

const ADDR: &str = "SOUNDHASH_WEBHOOK_METRICS_ADDR";
const DEFAULT_ADDR: &str = "127.0.0.1:9464";

/// The histogram buckets for durations: the smallest are for hashing, the middle ones for a
/// networked store, and the largest for slow senders.
const SECONDS: [f64; 10] = [5e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 5.0, 30.0];
/// The histogram buckets for body sizes, from a minimal event to the largest body that the layer
/// accepts.
const BYTES: [f64; 6] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];

fn app(metrics: PrometheusHandle) -> Router {
    let scrape = || async move {
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        ([(header::CONTENT_TYPE, content_type)], metrics.render())
    };
    Router::new().route("/metrics", get(scrape))
}

/// Keeps the histograms small, even if nothing requests the metrics. The exporter's own HTTP server
/// would do this automatically.
async fn keep_small(metrics: PrometheusHandle) {
    loop {
        metrics.run_upkeep();
        sleep(Duration::from_secs(5)).await;
    }
}

async fn webhook() -> Result<MethodRouter, BoxError> {
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
        .install_recorder()?;
    let addr = example_program::variable(ADDR, DEFAULT_ADDR);
    let listener = TcpListener::bind(&addr).await;
    let listener = listener
        .map_err(|error| example_program::cannot_listen(ADDR, &addr, DEFAULT_ADDR, error))?;
    info!("metrics at http://{}/metrics", listener.local_addr()?);
    let server = Server::new(listener).max_connections(16);
    tokio::spawn(keep_small(metrics.clone()));
    tokio::spawn(server.serve(app(metrics), pending()));
    let webhook = post(example_program::receive);
    Ok(webhook.layer(IdempotencyLayer::new(MemoryStore::new(100_000))))
}

fn main() -> ExitCode {
    example_program::run_webhook(webhook())
}
