//! The application that serves a webhook.

use std::{env, fmt::Display, process::ExitCode};

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, get},
};
use soundhash_webhook::{
    BoxError, Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing,
};
use tracing::{error, info, warn};

use crate::{CancellationToken, listen};

const SECRET: &str = "SOUNDHASH_WEBHOOK_SECRET";
const TEST_SECRET: &str = "whsec_test";

/// Returns the secret in `SOUNDHASH_WEBHOOK_SECRET`, or logs a warning and returns `whsec_test`.
///
/// # Errors
///
/// Returns an error if the secret is not valid.
pub fn secret() -> Result<Secret, BoxError> {
    if env::var_os(SECRET).is_some() {
        return Ok(Secret::from_env(SECRET)?);
    }
    warn!("{SECRET} is not set: ANYONE CAN SIGN, because the secret is `{TEST_SECRET}`");
    Ok(Secret::new(TEST_SECRET))
}

/// A handler that prints an event as one line of JSON.
pub async fn receive(event: Event) -> StatusCode {
    match serde_json::to_string(&event) {
        Ok(line) => respond_after(line).await,
        Err(error) => {
            error!(%error, "event not printed, so SoundHash retries");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Prints a line and returns the response status for its delivery.
pub async fn respond_after(line: impl Display) -> StatusCode {
    match crate::print(line).await {
        Ok(()) => StatusCode::OK,
        // With this status, SoundHash sends the event again.
        Err(error) => {
            error!(%error, "event not printed, so SoundHash retries");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn app(webhook: MethodRouter, secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", webhook)
        // The layer protects only the routes added so far.
        .route_layer(SoundHashWebhookLayer::new(secret))
        .route("/healthz", get(|| async { "ok" }))
}

/// Runs a program that serves a webhook until a signal arrives.
pub fn run_webhook(webhook: impl Future<Output = Result<MethodRouter, BoxError>>) -> ExitCode {
    crate::run(|stop| async move {
        match stop.run_until_cancelled(webhook).await {
            Some(webhook) => serve_webhook(webhook?, stop).await,
            // The program was asked to stop while it was still connecting.
            None => Ok(()),
        }
    })
}

/// Serves a webhook until `stop` is canceled.
///
/// # Errors
///
/// Returns an error if the secret is not valid or the program cannot listen on the address.
pub async fn serve_webhook(webhook: MethodRouter, stop: CancellationToken) -> Result<(), BoxError> {
    let secret = secret()?;
    let (server, url) = listen("/webhooks/soundhash").await?;
    let send = format!("soundhash-webhook send --url {url}");
    // The log must not contain a delivery that is signed with the user's secret.
    if env::var_os(SECRET).is_some() {
        info!("try it:\n{send}");
    } else {
        info!("try it:\n{}", curl(&url, &secret));
        info!("or:\n{SECRET}={TEST_SECRET} {send}");
    }
    let app = app(webhook, secret);
    server.serve(app, stop.cancelled_owned()).await;
    info!("stopped");
    Ok(())
}

/// Returns a shell command that sends a signed delivery.
fn curl(url: &str, secret: &Secret) -> String {
    let event = testing::sample(EventKind::VideoProcessed, Sender::Dispatcher);
    let body = event.to_string();
    let signature = secret.sign(body.as_bytes());
    format!(
        "curl -i {url} -H 'Content-Type: application/json' \
         -H 'X-Webhook-Signature: {signature}' --data-binary '{body}'"
    )
}
