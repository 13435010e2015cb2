//! The receiver, which verifies a delivery, stores its bytes and answers 202.

use std::env;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use soundhash_webhook::{BoxError, Delivery, Secret, SoundHashWebhookLayer, idempotency::Key};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::{stop::Stop, stream::Streams};

/// Far more than SoundHash sends. A NATS server takes messages of up to 1 MiB by default.
const MAX_BODY_SIZE: usize = 1024 * 1024;

async fn receive(State(streams): State<Streams>, delivery: Delivery) -> Response {
    let key = message_id(&Key::from(&delivery));
    match streams.accept(&key, &key, delivery.body().clone()).await {
        Ok(true) => info!(key, "stored"),
        Ok(false) => info!(key, "stored by an earlier delivery"),
        Err(error) => {
            error!(key, error, "not stored, so SoundHash retries");
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
        }
    }
    StatusCode::ACCEPTED.into_response()
}

/// Returns the key as a header value. Unlike a header value, an id can contain any character.
fn message_id(key: &Key) -> String {
    key.as_str().escape_default().to_string()
}

/// Returns the application, which stores the deliveries to `POST /webhooks/soundhash`.
fn app(secret: Secret, streams: Streams) -> Router {
    // A longer body could be verified, but not stored.
    let max_body_size = streams.max_body_size().min(MAX_BODY_SIZE);
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        // An idempotency layer is not needed, because the stream recognizes duplicates by their
        // key.
        .route_layer(SoundHashWebhookLayer::new(secret).max_body_size(max_body_size))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(streams)
}

/// Serves until the process is asked to stop.
///
/// # Errors
///
/// Returns an error if the secret is not set or the address cannot be listened on.
pub(crate) async fn run(streams: Streams, stop: Stop) -> Result<(), BoxError> {
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    info!("listening on http://{addr}/webhooks/soundhash");
    axum::serve(listener, app(secret, streams))
        .with_graceful_shutdown(stop.requested())
        .await?;
    Ok(())
}
