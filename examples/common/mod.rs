//! The shared part of the receiving examples: the application around a webhook, and its events.

use std::{env, fmt::Display, process::ExitCode};

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, get},
};
use example_program::{CancellationToken, listen};
use soundhash_webhook::{
    BoxError, Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing,
};
use soundhash_webhook_server::Server;
use tracing::{error, info, warn};

const SECRET_VARIABLE: &str = "SOUNDHASH_WEBHOOK_SECRET";
const TEST_SECRET: &str = "whsec_test";

/// Prints an event as one line of JSON.
pub(crate) async fn receive(event: Event) -> StatusCode {
    match serde_json::to_string(&event) {
        Ok(line) => print(line).await,
        Err(error) => {
            error!(%error, "event not printed, so SoundHash retries");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Prints a line, and returns the status of its delivery.
pub(crate) async fn print(line: impl Display) -> StatusCode {
    match example_program::print(line).await {
        Ok(()) => StatusCode::OK,
        // The status is not 2xx, so SoundHash sends the event again.
        Err(error) => {
            error!(%error, "event not printed, so SoundHash retries");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn app(webhook: MethodRouter, secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", webhook)
        // Protects the routes above it. The routes below it stay open.
        .route_layer(SoundHashWebhookLayer::new(secret))
        .route("/healthz", get(|| async { "ok" }))
}

/// Serves the webhook until a signal arrives.
pub(crate) fn run(webhook: impl Future<Output = Result<MethodRouter, BoxError>>) -> ExitCode {
    example_program::run(|stop| async move {
        match stop.run_until_cancelled(webhook).await {
            Some(webhook) => serve(webhook?, stop).await,
            // Stopped while it was connecting.
            None => Ok(()),
        }
    })
}

async fn serve(webhook: MethodRouter, stop: CancellationToken) -> Result<(), BoxError> {
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
    let listener = listen().await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");
    info!("try it:\n{}", curl(&url, &secret));
    info!("or:\n{variable}soundhash-webhook send --url {url}");

    Server::new(listener)
        .serve(app(webhook, secret), stop.cancelled_owned())
        .await;
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
