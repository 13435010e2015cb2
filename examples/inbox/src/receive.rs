//! The receiver, which verifies each delivery, stores it with a job, and responds with 202.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use soundhash_webhook::{Delivery, Secret, SoundHashWebhookLayer, idempotency::Key};
use soundhash_webhook_sqlx::EventLogError;
use tracing::info;

use crate::inbox::Inbox;

async fn receive(
    State(inbox): State<Inbox>,
    delivery: Delivery,
) -> Result<StatusCode, EventLogError> {
    let key = Key::from(&delivery);
    if inbox.accept(&delivery).await?.is_duplicate() {
        info!(
            key = key.as_str(),
            "duplicate: the event was accepted before"
        );
        return Ok(StatusCode::OK);
    }
    info!(key = key.as_str(), "accepted");
    Ok(StatusCode::ACCEPTED)
}

/// Returns the application, which stores every event delivered to `POST /webhooks/soundhash`.
pub fn app(secret: Secret, inbox: Inbox) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .route_layer(SoundHashWebhookLayer::new(secret))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(inbox)
}
