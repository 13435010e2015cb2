//! `cargo run -p soundhash-webhook-inspector --example inspect`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, and shows all requests in the
//! inspector, which prints its URL to stderr.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret | `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `SOUNDHASH_WEBHOOK_INSPECTOR` | the address of the inspector | `127.0.0.1:4040` |

use std::process::ExitCode;

use axum::{Router, routing::post};
use soundhash_webhook::{
    Event, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook_inspector::Inspector;

const INSPECTOR: &str = "SOUNDHASH_WEBHOOK_INSPECTOR";
const DEFAULT_INSPECTOR: &str = "127.0.0.1:4040";

/// Replace this with your application's logic.
async fn receive(event: Event) -> String {
    format!("received {}", event.event_type())
}

fn main() -> ExitCode {
    example_program::run(|stop| async move {
        let secret = example_program::secret()?;
        // The inspector needs the text, which was checked above.
        let text = example_program::variable("SOUNDHASH_WEBHOOK_SECRET", "whsec_test");
        let (server, url) = example_program::listen("/webhooks/soundhash").await?;
        let inspector = Inspector::new().with_secret(text).webhook_url(&url);
        let addr = example_program::variable(INSPECTOR, DEFAULT_INSPECTOR);
        let page = inspector.bind(&addr).await;
        let page = page.map_err(|error| {
            example_program::cannot_listen(INSPECTOR, &addr, DEFAULT_INSPECTOR, error)
        })?;
        tracing::info!("inspector: {}", page.url());

        let app = Router::new()
            .route("/webhooks/soundhash", post(receive))
            .layer(IdempotencyLayer::new(MemoryStore::new(100_000)))
            .layer(SoundHashWebhookLayer::new(secret))
            // The outermost layer, so that the inspector sees requests rejected by other layers.
            .layer(inspector.layer());
        let server = server.serve(app, stop.clone().cancelled_owned());
        tokio::join!(server, page.run_until(stop.cancelled_owned()));
        Ok(())
    })
}
