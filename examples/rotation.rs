//! `cargo run --example rotation`
//!
//! Rotates the secret of a running server without rejecting any deliveries. The secrets are the
//! lines of a file, with the current secret first. The server rereads the file on SIGHUP, so send the
//! signal only when the file is complete:
//!
//! ```console
//! $ printf 'whsec_new\nwhsec_old\n' >secrets     # 1. both are valid
//! $ kill -HUP <pid>
//!                                                # 2. tell SoundHash the new secret
//! $ printf 'whsec_new\n' >secrets                # 3. the log no longer names the old one
//! $ kill -HUP <pid>
//! ```
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRETS` | the file with the secrets | none: `whsec_test`, with a warning |
//! | `SOUNDHASH_WEBHOOK_ADDR` | the address to listen on | `127.0.0.1:3000` |
//!
//! For each event, the program prints a line with the event type and the index of the secret that
//! signed it.

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use example_program::{CancellationToken, listen, print};
use soundhash_webhook::{
    BoxError, Delivery, Event, RotatingSecrets, Secrets, SoundHashWebhookLayer,
};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::{
    fs::File,
    io::{self, AsyncReadExt},
    time::timeout,
};
use tracing::{error, info, warn};

async fn receive(event: Event, delivery: Delivery) -> StatusCode {
    let secret = delivery.matched_secret();
    if secret > 0 {
        // Once this warning no longer appears, remove the old secret.
        warn!("signed with secret {secret}, which is a previous one");
    }
    match print(format!("{} {secret}", event.event_type())).await {
        Ok(()) => StatusCode::OK,
        // With this status, SoundHash sends the event again.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn app(secrets: RotatingSecrets) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::with_provider(secrets))
}

/// The file with the secrets, one per line, with the current one first.
struct Source(Option<PathBuf>);

impl Source {
    async fn read(&self) -> Result<Secrets, BoxError> {
        // Four secrets are much shorter.
        const MAX_BYTES: usize = 64 * 1024;

        let Some(path) = &self.0 else {
            warn!("SOUNDHASH_WEBHOOK_SECRETS is not set: anyone can sign with `whsec_test`");
            return Ok(Secrets::new("whsec_test"));
        };
        let read = async {
            let mut text = String::new();
            let mut file = File::open(path).await?.take(MAX_BYTES as u64);
            file.read_to_string(&mut text).await?;
            if text.len() == MAX_BYTES {
                return Err(io::Error::other("too long"));
            }
            Ok(text)
        };
        // A network file system or a named pipe can block forever.
        let read = timeout(Duration::from_secs(5), read).await;
        let text = read
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|error| {
                let path = path.display();
                format!("SOUNDHASH_WEBHOOK_SECRETS: cannot read {path}: {error}: set it to a file")
            })?;
        Ok(text.parse()?)
    }
}

async fn serve(stop: CancellationToken) -> Result<(), BoxError> {
    let source = Source(env::var_os("SOUNDHASH_WEBHOOK_SECRETS").map(PathBuf::from));
    let secrets = RotatingSecrets::new(source.read().await?);
    // The signal handler is registered before the server starts to listen, because an unhandled
    // SIGHUP would kill the process.
    #[cfg(unix)]
    let mut hangups = signal(SignalKind::hangup())?;
    let current = secrets.clone();
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            hangups.recv().await;
            // Other platforms do not have SIGHUP, so the file is reread once a minute.
            #[cfg(not(unix))]
            tokio::time::sleep(Duration::from_secs(60)).await;
            match source.read().await {
                Ok(secrets) => {
                    let count = secrets.len();
                    current.set(secrets);
                    info!("secrets read again: {count} valid from now on");
                }
                // An invalid file must not cause deliveries to be rejected.
                Err(error) => error!("the old secrets stay valid: {error}"),
            }
        }
    });

    let (server, _) = listen("/webhooks/soundhash").await?;
    server.serve(app(secrets), stop.cancelled_owned()).await;
    Ok(())
}

fn main() -> ExitCode {
    example_program::run(serve)
}
