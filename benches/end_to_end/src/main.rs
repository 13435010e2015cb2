//! The `receiver` example without `SoundHashWebhookLayer`, as the benchmark's baseline.

use std::{
    env,
    io::{self, Write},
};

use axum::{
    Router,
    body::Bytes,
    http::StatusCode,
    routing::{get, post},
};
use soundhash_webhook::Event;
use tokio::{net::TcpListener, signal};
use tracing_subscriber::EnvFilter;

async fn receive(body: Bytes) -> StatusCode {
    let Ok(event) = Event::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut line = serde_json::to_vec(&event).expect("JSON");
    line.push(b'\n');
    match io::stdout().lock().write_all(&line) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(io::stderr)
        .init();
    let app = Router::new()
        .route("/webhooks/soundhash", post(receive))
        .route("/healthz", get(|| async { "ok" }));
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    axum::serve(TcpListener::bind(addr).await?, app)
        .with_graceful_shutdown(async { drop(signal::ctrl_c().await) })
        .await
}
