//! The receiving half: verified, stored, answered.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use oxana::Storage;
use soundhash_webhook::{
    Delivery, Event, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, IdempotencyStore, Key},
};
use tower::ServiceBuilder;
use tracing::{error, info};

use crate::job::{EventJob, Events};

async fn receive(State(queue): State<Storage>, event: Event, delivery: Delivery) -> StatusCode {
    let key = Key::from(&delivery);
    match queue.try_enqueue(Events, EventJob::new(&key, event)).await {
        Ok(Some(_)) => info!(%key, "queued"),
        // Stored by an earlier delivery, whose answer did not get through.
        Ok(None) => info!(%key, "in the queue already"),
        Err(error) => {
            error!(%key, %error, "not queued");
            // SoundHash sends it again.
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    }
    StatusCode::ACCEPTED
}

/// Puts what is delivered to `POST /webhooks/soundhash` into the queue, once.
pub fn app<St: IdempotencyStore>(secret: Secret, queue: Storage, store: St) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .route_layer(
            ServiceBuilder::new()
                .layer(SoundHashWebhookLayer::new(secret))
                // Remembers for a day what was queued, also when its job is done.
                .layer(IdempotencyLayer::new(store)),
        )
        .route("/healthz", get(|| async { "ok" }))
        .with_state(queue)
}
