//! `cargo run --example plain_tower`
//!
//! Uses the layer without axum, around a tower service that hyper serves. The accept loop is in
//! `common/server.rs`, with the limits that only the server can set.
//!
//! The secret is `SOUNDHASH_WEBHOOK_SECRET`, or `whsec_test`. The address to listen on is
//! `SOUNDHASH_WEBHOOK_ADDR`, or `127.0.0.1:3000`. The type of each event is printed to stdout.
//! After SIGINT, the program answers the requests in progress and ends.

#[path = "common/server.rs"]
mod server;

use std::{convert::Infallible, env, error::Error, io};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use soundhash_webhook::{Delivery, Secret, SoundHashWebhookLayer};
use tokio::{net::TcpListener, signal};
use tower::{ServiceBuilder, service_fn};
use tracing::{info, warn};

/// The service behind the layer. It has to check the path itself, because this example does not
/// have a router.
async fn receive<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match (request.uri().path(), request.extensions().get::<Delivery>()) {
        ("/webhooks/soundhash", Some(delivery)) => handle(delivery),
        ("/webhooks/soundhash", None) => {
            // Only the layer creates a `Delivery`. If it is missing, the request was not verified.
            warn!("no SoundHashWebhookLayer around this service");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

fn handle(delivery: &Delivery) -> StatusCode {
    match delivery.event() {
        Ok(event) => {
            println!("{}", event.event_type());
            StatusCode::OK
        }
        Err(error) => {
            warn!("the body is not an event: {error}");
            error.status()
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let secret = match env::var_os("SOUNDHASH_WEBHOOK_SECRET") {
        Some(_) => Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?,
        None => Secret::new("whsec_test"),
    };
    // The layer accepts hyper's body, as it accepts any body.
    let service = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(secret))
        .service(service_fn(receive));

    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");

    server::serve(listener, service, async {
        signal::ctrl_c().await.expect("a handler for SIGINT");
    })
    .await;
    Ok(())
}
