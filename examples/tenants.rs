//! `cargo run --example tenants`
//!
//! A secret for each endpoint, looked up in a database that is slow and sometimes away, with a
//! cache in front of it. Endpoints are paths, `POST /webhooks/acme` and `/webhooks/globex`, with
//! the secrets `whsec_acme` and `whsec_globex`; the database fails at `initech`:
//!
//! ```console
//! $ cargo run --example send -- --url http://127.0.0.1:3000/webhooks/acme --secret whsec_acme
//! ```
//!
//! `SOUNDHASH_WEBHOOK_ADDR` says where to listen, `127.0.0.1:3000` by default. Each event
//! becomes a line of stdout: whose it is, and its type.

use std::{
    collections::HashMap,
    env,
    error::Error,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, http::StatusCode, http::request, routing::post};
use soundhash_webhook::{
    BoxError, Delivery, Event, SecretProvider, Secrets, SoundHashWebhookLayer,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tracing::info;

/// How long an answer is believed: a changed secret is valid after this time at the latest.
const BELIEVED: Duration = Duration::from_secs(60);

/// Unknown names are cached too, and strangers choose them: there has to be a limit.
const MAX_ENTRIES: usize = 10_000;

/// Longer than any name of ours: not asked about and not remembered.
const MAX_NAME: usize = 64;

/// SoundHash waits 30 s for an answer, and the database is not all that takes time.
const DEADLINE: Duration = Duration::from_secs(5);

/// Look-ups at the same time: what is left of the database is for everybody else.
const MAX_LOOK_UPS: usize = 8;

/// Stands for a table of endpoints.
struct Database;

impl Database {
    async fn secrets(&self, endpoint: &str) -> Result<Option<Secrets>, BoxError> {
        info!("the database is asked for {endpoint:?}");
        sleep(Duration::from_millis(200)).await;
        match endpoint {
            "acme" => Ok(Some(Secrets::new("whsec_acme"))),
            "globex" => Ok(Some(
                Secrets::new("whsec_globex").previous("whsec_globex_old"),
            )),
            "initech" => Err("the database is away".into()),
            _ => Ok(None),
        }
    }
}

struct Tenants {
    database: Database,
    look_ups: Semaphore,
    cache: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    /// `None`: there is no such endpoint.
    secrets: Option<Secrets>,
    until: Instant,
}

impl Tenants {
    fn new(database: Database) -> Self {
        Self {
            database,
            look_ups: Semaphore::new(MAX_LOOK_UPS),
            cache: Mutex::default(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // No entry is ever half written.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, name: &str) -> Option<Entry> {
        let cache = self.cache();
        let entry = cache.get(name).cloned();
        entry.filter(|entry| entry.until > Instant::now())
    }

    fn remember(&self, name: &str, secrets: Option<Secrets>) {
        let until = Instant::now() + BELIEVED;
        let mut cache = self.cache();
        if cache.len() >= MAX_ENTRIES {
            // What strangers made up goes first; there are only so many customers.
            cache.retain(|_, entry| entry.secrets.is_some() && entry.until > Instant::now());
        }
        cache.insert(name.to_owned(), Entry { secrets, until });
    }

    async fn look_up(&self, name: &str) -> Result<Option<Secrets>, BoxError> {
        let _permit = self.look_ups.acquire().await?;
        // Who stood in line before us may have asked the same.
        if let Some(known) = self.remembered(name) {
            return Ok(known.secrets);
        }
        // A failure is not remembered: SoundHash sends the delivery again.
        let secrets = self.database.secrets(name).await?;
        // From here on, a verified delivery can say whose it is.
        let secrets = secrets.map(|secrets| secrets.endpoint(name));
        self.remember(name, secrets.clone());
        Ok(secrets)
    }
}

/// The last segment of the path. It is not signed and need not be: whoever writes another
/// name into it would have to sign with that one's secret.
fn name(head: &request::Parts) -> &str {
    head.uri.path().rsplit('/').next().unwrap_or_default()
}

impl SecretProvider for Tenants {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        let name = name(head);
        if name.len() > MAX_NAME {
            return Ok(None);
        }
        if let Some(known) = self.remembered(name) {
            return Ok(known.secrets);
        }
        timeout(DEADLINE, self.look_up(name)).await?
    }

    // The usual case, without waiting and without an allocation.
    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        self.remembered(name(head))?.secrets
    }
}

async fn receive(event: Event, delivery: Delivery) -> StatusCode {
    // Not from the path: this name was proven by the signature.
    let endpoint = delivery.endpoint().unwrap_or_default();
    println!("{endpoint} {}", event.event_type());
    StatusCode::OK
}

fn app(tenants: Tenants) -> Router {
    Router::new()
        .route("/webhooks/{endpoint}", post(receive))
        .route_layer(SoundHashWebhookLayer::with_provider(tenants))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    info!("listening on http://{}/webhooks/", listener.local_addr()?);
    axum::serve(listener, app(Tenants::new(Database))).await?;
    Ok(())
}
