//! `cargo run --example rotation`
//!
//! Changes the secret while it runs, and refuses no delivery meanwhile. The secrets are the
//! lines of a file, the current one first; SIGHUP makes it read the file again:
//!
//! ```console
//! $ printf 'whsec_new\nwhsec_old\n' >secrets     # 1. both are valid
//! $ kill -HUP <pid>
//!                                                # 2. tell SoundHash the new secret
//! $ printf 'whsec_new\n' >secrets                # 3. when the log names the old one no more
//! $ kill -HUP <pid>
//! ```
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRETS` | the file | none: `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | where to listen | `127.0.0.1:3000` |
//!
//! Each event becomes a line of stdout: its type, and which secret signed it.

use std::{env, error::Error, fs, io, path::PathBuf};

use axum::{Router, http::StatusCode, http::request, routing::post};
use soundhash_webhook::{
    BoxError, Delivery, Event, Secret, SecretProvider, Secrets, SoundHashWebhookLayer,
};
use tokio::{net::TcpListener, sync::watch};
use tracing::{error, info, warn};

/// The secrets that are valid now. Who holds the other end of the channel changes them.
///
/// A request takes them once, when its head is there. So each is checked against the secrets
/// from before a change or from after it, never against none.
struct Rotating(watch::Receiver<Secrets>);

impl SecretProvider for Rotating {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        Ok(self.cached(head))
    }

    // Always at hand, so that no request waits for them.
    fn cached(&self, _: &request::Parts) -> Option<Secrets> {
        Some(self.0.borrow().clone())
    }
}

async fn receive(event: Event, delivery: Delivery) -> StatusCode {
    let secret = delivery.matched_secret();
    if secret > 0 {
        // As long as this is logged, the old secret is in use.
        warn!("signed with secret {secret}, which is a previous one");
    }
    println!("{} {secret}", event.event_type());
    StatusCode::OK
}

fn app(secrets: watch::Receiver<Secrets>) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::with_provider(Rotating(secrets)))
}

/// Where the secrets come from: one a line, the current one first.
struct Source(Option<PathBuf>);

impl Source {
    fn read(&self) -> Result<Secrets, Box<dyn Error>> {
        let Some(path) = &self.0 else {
            warn!("SOUNDHASH_WEBHOOK_SECRETS is not set: ANYBODY CAN SIGN with `whsec_test`");
            return Ok(Secrets::new("whsec_test"));
        };
        let text = fs::read_to_string(path)?;
        let secrets = text.lines().map(str::trim).filter(|line| !line.is_empty());
        // No line at all, or more than four, is an error.
        Ok(Secrets::try_from(
            secrets.map(Secret::new).collect::<Vec<_>>(),
        )?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();

    let source = Source(env::var_os("SOUNDHASH_WEBHOOK_SECRETS").map(PathBuf::from));
    let (current, secrets) = watch::channel(source.read()?);
    // Before it listens: a SIGHUP that nobody waits for would end the process.
    let mut wish = Wish::new()?;
    tokio::spawn(async move {
        loop {
            wish.next().await;
            match source.read() {
                Ok(secrets) => {
                    let valid = secrets.len();
                    current.send_replace(secrets);
                    info!("{valid} valid from now on");
                }
                // A broken file must not lock SoundHash out.
                Err(error) => error!("secrets not changed: {error}"),
            }
        }
    });

    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");
    axum::serve(listener, app(secrets)).await?;
    Ok(())
}

/// The wish to read the secrets again: SIGHUP.
#[cfg(unix)]
struct Wish(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Wish {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Where there are no such signals: once a minute.
#[cfg(not(unix))]
struct Wish;

#[cfg(not(unix))]
impl Wish {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    }
}
