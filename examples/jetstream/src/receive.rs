//! The receiver, which verifies each delivery, stores its bytes and responds with 202.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use example_program::{CancellationToken, listen};
use soundhash_webhook::{BoxError, Delivery, Secret, SoundHashWebhookLayer, idempotency::Key};
use tracing::{error, info};

use crate::stream::{PUBLISH_DEADLINE, Streams};

/// The maximum body size, which is far larger than any event that SoundHash sends. By default, a
/// NATS server accepts messages of up to 1 MiB.
const MAX_BODY_SIZE: usize = 1024 * 1024;

async fn receive(State(streams): State<Streams>, delivery: Delivery) -> Response {
    let key = Key::from(&delivery);
    let key = key.as_str();
    // This logs an event whose type or payload is new, which a worker would not notice.
    let _ = delivery.event();
    match streams.accept(key, key, delivery.body().clone()).await {
        Ok(true) => info!(key, "stored"),
        Ok(false) => info!(key, "stored by an earlier delivery"),
        Err(error) => {
            error!(key, error, "not stored, so SoundHash retries");
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
        }
    }
    StatusCode::ACCEPTED.into_response()
}

/// Returns the application, which stores every delivery to `POST /webhooks/soundhash`.
fn app(secret: Secret, streams: Streams) -> Router {
    // A longer body would pass verification, but could not be stored in a NATS message.
    let max_body_size = streams.max_body_size().min(MAX_BODY_SIZE);
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        // No idempotency layer is needed, because the stream recognizes duplicates by their key.
        .route_layer(SoundHashWebhookLayer::new(secret).max_body_size(max_body_size))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(streams)
}

/// Returns the endpoint's secret.
///
/// # Errors
///
/// Returns an error if the secret is not set or is not valid.
pub(crate) fn secret() -> Result<Secret, BoxError> {
    Ok(Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?)
}

/// Serves requests until the process is asked to stop.
///
/// # Errors
///
/// Returns an error if the program cannot listen on its address.
pub(crate) async fn run(
    secret: Secret,
    streams: Streams,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let (server, _) = listen("/webhooks/soundhash").await?;
    server
        .grace(PUBLISH_DEADLINE)
        .serve(app(secret, streams), stop.cancelled_owned())
        .await;
    Ok(())
}
