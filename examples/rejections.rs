//! `cargo run --example rejections`
//!
//! Replaces the response to each rejected request and writes a line to an audit log. Both are done
//! by middleware outside the layer, which finds the reason in the *response* extensions:
//!
//! ```console
//! $ curl -i http://127.0.0.1:3000/webhooks/soundhash --data '{}'
//! HTTP/1.1 401 Unauthorized
//! content-type: application/problem+json
//! www-authenticate: HMAC-SHA256 realm="SoundHash webhook"
//!
//! {"title":"Unauthorized","status":401}
//! ```
//!
//! and on stdout:
//!
//! ```json
//! {"path":"/webhooks/soundhash","peer":"127.0.0.1","reason":"missing_signature","status":401}
//! ```
//!
//! The environment variable `SOUNDHASH_WEBHOOK_SECRET` sets the secret (default `whsec_test`), and
//! `SOUNDHASH_WEBHOOK_ADDR` sets the address to listen on (default `127.0.0.1:3000`).

use std::{net::SocketAddr, process::ExitCode};

use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::post,
};
use example_program::{listen, print, secret};
use serde_json::json;
use soundhash_webhook::{Event, Rejection, Secret, SoundHashWebhookLayer};
use tracing::info;

async fn receive(event: Event) -> StatusCode {
    info!(event_type = event.event_type(), "received");
    StatusCode::OK
}

/// Writes an audit log line for each rejected request.
///
/// An attacker can trigger any number of lines, so rotate the log. Each line is a JSON object, so
/// that a line break in the path cannot forge a log line.
async fn audit(Extension(peer): Extension<SocketAddr>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        let line = json!({
            "path": path,
            "peer": peer.ip(),
            "reason": rejection.kind().as_str(),
            "status": rejection.status().as_u16(),
        });
        // A failure to write the line, for example because the disk is full, must not change the
        // response.
        let _ = print(line).await;
    }
    response
}

/// Replaces the body of the layer's response, but keeps the status and the headers.
///
/// The new body depends only on the status, so that an attacker learns neither why a forged request
/// was rejected nor which endpoints exist.
async fn problem(response: Response) -> Response {
    if response.extensions().get::<Rejection>().is_none() {
        return response;
    }
    let (mut head, _) = response.into_parts();
    let problem = json!({
        "title": head.status.canonical_reason(),
        "status": head.status.as_u16(),
    });
    head.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    Response::from_parts(head, Body::from(problem.to_string()))
}

fn app(secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::new(secret))
        // A layer that is added later is further out, so these two see the responses of the
        // `SoundHashWebhookLayer` above.
        .layer(middleware::map_response(problem))
        .layer(middleware::from_fn(audit))
}

fn main() -> ExitCode {
    example_program::run(|stop| async move {
        // The server puts the peer address into the extensions of each request.
        let (server, _) = listen("/webhooks/soundhash").await?;
        server.serve(app(secret()?), stop.cancelled_owned()).await;
        Ok(())
    })
}
