//! `cargo run --example plain_tower`
//!
//! Uses the layer without axum, around a tower service that `soundhash-webhook-server` serves.
//!
//! The environment variable `SOUNDHASH_WEBHOOK_SECRET` sets the secret (default `whsec_test`), and
//! `SOUNDHASH_WEBHOOK_ADDR` sets the address to listen on (default `127.0.0.1:3000`). Each event's
//! type is printed to stdout. On SIGINT or SIGTERM, the program finishes the requests in progress
//! and exits.

use std::{convert::Infallible, process::ExitCode};

use bytes::Bytes;
use example_program::{listen, print, secret};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use soundhash_webhook::{Delivery, SoundHashWebhookLayer};
use tower::{ServiceBuilder, service_fn};
use tracing::warn;

/// The service inside the layer. It checks the path itself, because this example has no router.
async fn receive<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match (request.uri().path(), request.extensions().get::<Delivery>()) {
        ("/webhooks/soundhash", Some(delivery)) => handle(delivery).await,
        ("/webhooks/soundhash", None) => {
            // Only the layer creates a `Delivery`, so without one, the request was not verified.
            warn!("no SoundHashWebhookLayer around this service");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

async fn handle(delivery: &Delivery) -> StatusCode {
    match delivery.event() {
        Ok(event) => match print(event.event_type()).await {
            Ok(()) => StatusCode::OK,
            // With this status, SoundHash sends the event again.
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        },
        // The crate has logged the error.
        Err(error) => error.status(),
    }
}

fn main() -> ExitCode {
    example_program::run(|stop| async move {
        // The layer accepts any body type, including hyper's.
        let service = ServiceBuilder::new()
            .layer(SoundHashWebhookLayer::new(secret()?))
            .service(service_fn(receive));
        let (server, _) = listen("/webhooks/soundhash").await?;
        server.serve(service, stop.cancelled_owned()).await;
        Ok(())
    })
}
