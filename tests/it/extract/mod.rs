//! Extractors, which take values from a verified request, and their rejections.

use axum::{
    Router,
    body::Body,
    handler::Handler,
    http::{Request, StatusCode},
    routing::post,
};
use soundhash_webhook::SoundHashWebhookLayer;
use tower::ServiceExt;

use crate::support::{SECRET, text};

mod delivery;
mod event;
mod payload;

fn protected<H: Handler<T, ()>, T: 'static>(handler: H) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(SoundHashWebhookLayer::new(SECRET))
}

async fn respond(app: Router, request: Request<Body>) -> (StatusCode, String) {
    let Ok(response) = app.oneshot(request).await;
    (response.status(), text(response).await)
}
