//! `cargo run --example receiver`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash` and prints each event as one
//! line of JSON to stdout. The log goes to stderr.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | where to listen | `127.0.0.1:3000` |
//! | `RUST_LOG` | what to log | `info` |
//!
//! `GET /healthz` answers `ok`. SIGINT and SIGTERM end it when all requests are answered.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use soundhash_webhook::{Event, EventKind, Secret, SoundHashWebhookLayer, testing};
use tokio::{net::TcpListener, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

const SECRET_VARIABLE: &str = "SOUNDHASH_WEBHOOK_SECRET";
const TEST_SECRET: &str = "whsec_test";

async fn receive(event: Event) -> StatusCode {
    match print(&event) {
        Ok(()) => StatusCode::OK,
        // Not 2xx: SoundHash sends the event again.
        Err(error) => {
            error!(%error, "event not printed");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn print(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}

fn app(secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        // Protects the routes above it; those below stay open.
        .route_layer(SoundHashWebhookLayer::new(secret))
        .route("/healthz", get(|| async { "ok" }))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();

    let (secret, secret_flag) = if env::var_os(SECRET_VARIABLE).is_some() {
        let secret = Secret::from_env(SECRET_VARIABLE);
        let secret = secret.map_err(|error| format!("{SECRET_VARIABLE}: {error}"))?;
        (secret, "")
    } else {
        warn!("{SECRET_VARIABLE} is not set: ANYBODY CAN SIGN, the secret is `{TEST_SECRET}`");
        (Secret::new(TEST_SECRET), " --secret whsec_test")
    };
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");
    info!("try it:\n{}", curl(&url, &secret));
    info!("or:\ncargo run --example send -- --url {url}{secret_flag} --event video.processed");

    axum::serve(listener, app(secret))
        .with_graceful_shutdown(shutdown())
        .await?;
    info!("stopped");
    Ok(())
}

/// A delivery to paste into a shell. Its signature tells nothing about the secret.
fn curl(url: &str, secret: &Secret) -> String {
    let event = testing::sample(EventKind::VideoProcessed, testing::Envelope::Dispatcher);
    let body = event.to_string();
    let signature = secret.sign(body.as_bytes());
    format!(
        "curl -i {url} -H 'Content-Type: application/json' \
         -H 'X-Webhook-Signature: {signature}' --data-binary '{body}'"
    )
}

/// Resolves at SIGINT or SIGTERM.
async fn shutdown() {
    let interrupt = async { signal::ctrl_c().await.expect("a handler for SIGINT") };
    #[cfg(unix)]
    let terminate = async {
        signal::unix::signal(signal::unix::SignalKind::terminate())
            .expect("a handler for SIGTERM")
            .recv()
            .await;
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
    info!("stopping: no new connections, requests in flight are answered");
}
