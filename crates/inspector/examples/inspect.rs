//! `cargo run -p soundhash-webhook-inspector --example inspect`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, and prints each event once to stdout,
//! as one line of JSON. The inspector shows all requests. Its URL is printed to stderr.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test` |
//! | `SOUNDHASH_WEBHOOK_ADDR` | where to listen | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_INSPECTOR` | where to show the inspector | `127.0.0.1:4040` |

use std::{
    env,
    error::Error,
    io::{self, Write},
};

use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{
    Event, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_inspector::Inspector;
use tokio::{net::TcpListener, signal, sync::watch};

async fn receive(event: Event) -> StatusCode {
    let printed = serde_json::to_vec(&event)
        .map_err(io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            io::stdout().lock().write_all(&line)
        });
    match printed {
        Ok(()) => StatusCode::OK,
        // Not 2xx: SoundHash sends the event again.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = variable("SOUNDHASH_WEBHOOK_SECRET", "whsec_test");
    let listener = TcpListener::bind(variable("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:3000")).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);

    let inspector = Inspector::new().with_secret(&secret).webhook_url(&url);
    let page = inspector
        .bind(variable("SOUNDHASH_WEBHOOK_INSPECTOR", "127.0.0.1:4040"))
        .await?;
    eprintln!("inspector: {}", page.url());

    let app = Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(IdempotencyLayer::new(MemoryStore::new(100_000)))
        .layer(SoundHashWebhookLayer::new(Secret::new(secret)))
        // Outside of the other layers, so that it sees what they reject.
        .layer(inspector.layer());

    let (stop, stopped) = watch::channel(());
    let until_stopped = move || {
        let mut stopped = stopped.clone();
        // Resolves when `stop` is dropped.
        async move { while stopped.changed().await.is_ok() {} }
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(until_stopped());
    let signal = async move {
        shutdown().await;
        drop(stop);
        io::Result::Ok(())
    };
    tokio::try_join!(
        server.into_future(),
        page.run_until(until_stopped()),
        signal
    )?;
    Ok(())
}

/// Resolves at SIGINT or SIGTERM.
async fn shutdown() {
    let interrupt = async { signal::ctrl_c().await.expect("a handler for SIGINT") };
    #[cfg(unix)]
    let terminate = async {
        signal::unix::signal(signal::unix::SignalKind::terminate())
            .expect("a handler for SIGTERM")
            .recv()
            .await;
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
