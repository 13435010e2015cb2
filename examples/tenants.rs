//! `cargo run --example tenants --features cache`
//!
//! Receives webhooks for several endpoints with different secrets, which `CachedSecrets` looks up
//! in a slow database. The path identifies the endpoint: `POST /webhooks/acme` has the secret
//! `whsec_acme`, and `POST /webhooks/globex` has `whsec_globex`. For `initech`, the database fails.
//!
//! ```console
//! $ export SOUNDHASH_WEBHOOK_SECRET=whsec_acme
//! $ soundhash-webhook send --url http://127.0.0.1:3000/webhooks/acme
//! ```
//!
//! The environment variable `SOUNDHASH_WEBHOOK_ADDR` sets the address to listen on (default
//! `127.0.0.1:3000`). For each event, the program prints a line with the endpoint and the event
//! type.

use std::{borrow::Cow, process::ExitCode, time::Duration};

use axum::{Router, http::StatusCode, http::request, routing::post};
use example_program::{listen, print};
use soundhash_webhook::{
    BoxError, CachedSecrets, Delivery, Event, SecretLookup, Secrets, SoundHashWebhookLayer,
};
use tokio::time::sleep;
use tracing::info;

/// A stand-in for a database table of endpoints.
struct Database;

impl Database {
    fn endpoints() -> [(&'static str, Secrets); 2] {
        let globex = Secrets::new("whsec_globex").previous("whsec_globex_old");
        [("acme", Secrets::new("whsec_acme")), ("globex", globex)]
    }
}

impl SecretLookup for Database {
    // The name is the last segment of the path. The path is not signed, but an attacker gains
    // nothing by changing the name, because the layer then verifies with that endpoint's secret.
    fn name<'a>(&self, head: &'a request::Parts) -> Option<Cow<'a, str>> {
        head.uri.path().rsplit('/').next().map(Cow::Borrowed)
    }

    async fn lookup(&self, endpoint: &str) -> Result<Option<Secrets>, BoxError> {
        info!("looking up {endpoint:?} in the database");
        sleep(Duration::from_millis(200)).await;
        if endpoint == "initech" {
            return Err("the database is not available".into());
        }
        let mut endpoints = Self::endpoints().into_iter();
        let found = endpoints.find(|(name, _)| *name == endpoint);
        Ok(found.map(|(_, secrets)| secrets))
    }
}

async fn receive(event: Event, delivery: Delivery) -> StatusCode {
    // Unlike the path, the delivery's endpoint is authenticated by the signature.
    let endpoint = delivery.endpoint().unwrap_or_default();
    match print(format!("{endpoint} {}", event.event_type())).await {
        Ok(()) => StatusCode::OK,
        // With this status, SoundHash sends the event again.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn app() -> Router {
    let secrets = CachedSecrets::new(Database).time_to_live(Duration::from_secs(60));
    // Otherwise, an attacker could invent names so quickly that these endpoints are never looked up.
    for (name, secret) in Database::endpoints() {
        secrets.insert(name, secret);
    }
    Router::new()
        .route("/webhooks/{endpoint}", post(receive))
        .route_layer(SoundHashWebhookLayer::with_provider(secrets))
}

fn main() -> ExitCode {
    example_program::run(|stop| async move {
        let (server, _) = listen("/webhooks/").await?;
        server.serve(app(), stop.cancelled_owned()).await;
        Ok(())
    })
}
