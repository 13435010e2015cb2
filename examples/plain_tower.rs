//! `cargo run --example plain_tower`
//!
//! Uses the layer without axum, in a tower service that hyper serves. The example also shows two
//! limits that the server has to set, because they apply before there is a request: the time for a
//! request's head, and the number of connections.
//!
//! The secret is `SOUNDHASH_WEBHOOK_SECRET`, or `whsec_test`. The address to listen on is
//! `SOUNDHASH_WEBHOOK_ADDR`, or `127.0.0.1:3000`. The type of each event is printed to stdout.
//! After SIGINT, the program answers the requests in progress and ends.

use std::{convert::Infallible, env, error::Error, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use soundhash_webhook::{Delivery, Secret, SoundHashWebhookLayer};
use tokio::{
    net::TcpListener,
    signal,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::{ServiceBuilder, service_fn};
use tracing::{debug, info, warn};

const MAX_CONNECTIONS: usize = 1024;

/// The time that a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that requests in progress have when the server stops, which is as long as SoundHash
/// waits.
const GRACE: Duration = Duration::from_secs(30);

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
            warn!("not an event: {error}");
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
    let service = TowerToHyperService::new(service);

    let addr = env::var("SOUNDHASH_WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(&addr).await?;
    let url = format!("http://{}/webhooks/soundhash", listener.local_addr()?);
    info!("listening on {url}");

    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // A single future for the whole loop, because a signal between two iterations would be missed.
    let mut stop = pin!(stop());
    loop {
        let accept = async {
            // If all permits are taken, the next connection waits in the system's queue.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // For example, there are too many open files. The next attempt may succeed.
                warn!("no connection accepted: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!("connection ended: {error}");
            }
            drop(place);
        });
    }
    info!("stopping: no new connections, requests in flight are answered");
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        warn!("stopped with requests unanswered");
    }
    Ok(())
}

async fn stop() {
    signal::ctrl_c().await.expect("a handler for SIGINT");
}
