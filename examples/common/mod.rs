//! The start-up, log, shutdown and printing of events that the receiving examples share.

mod server;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, get},
};
use soundhash_webhook::{
    BoxError, Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing,
};
use tokio::{net::TcpListener, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

const SECRET_VARIABLE: &str = "SOUNDHASH_WEBHOOK_SECRET";
const TEST_SECRET: &str = "whsec_test";

/// Prints an event as one line of JSON.
pub(crate) fn receive(event: &Event) -> StatusCode {
    match print(event) {
        Ok(()) => StatusCode::OK,
        // The status is not 2xx, so SoundHash sends the event again.
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

fn app(webhook: MethodRouter, secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", webhook)
        // Protects the routes above it. The routes below it stay open.
        .route_layer(SoundHashWebhookLayer::new(secret))
        .route("/healthz", get(|| async { "ok" }))
}

/// Sends the log to stderr, serves the webhook until a signal arrives, and logs the error if that
/// fails.
pub(crate) async fn run(webhook: impl Future<Output = Result<MethodRouter, BoxError>>) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();
    let served = async { serve(webhook.await?).await };
    match served.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(webhook: MethodRouter) -> Result<(), BoxError> {
    let (secret, variable) = if env::var_os(SECRET_VARIABLE).is_some() {
        (Secret::from_env(SECRET_VARIABLE)?, "")
    } else {
        warn!(
            "{SECRET_VARIABLE} is not set: ANYONE CAN SIGN, because the secret is `{TEST_SECRET}`"
        );
        (
            Secret::new(TEST_SECRET),
            "SOUNDHASH_WEBHOOK_SECRET=whsec_test ",
        )
    };
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");
    info!("try it:\n{}", curl(&url, &secret));
    info!("or:\n{variable}soundhash-webhook send --url {url}");

    server::serve(listener, app(webhook, secret), shutdown()).await;
    info!("stopped");
    Ok(())
}

/// Returns a delivery as a line for a shell. Its signature does not reveal the secret.
fn curl(url: &str, secret: &Secret) -> String {
    let event = testing::sample(EventKind::VideoProcessed, Sender::Dispatcher);
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
}
