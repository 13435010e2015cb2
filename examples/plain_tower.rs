//! `cargo run --example plain_tower`
//!
//! The layer without axum: a tower service, served by hyper. It also shows two limits that are
//! the server's to set, since they are about what comes before a request: the time for a request's
//! head, and the number of connections.
//!
//! The secret is `SOUNDHASH_WEBHOOK_SECRET`, or `whsec_test`. `SOUNDHASH_WEBHOOK_ADDR` says where
//! to listen, `127.0.0.1:3000` by default. Each event's type becomes a line of stdout. SIGINT ends
//! it when all requests are answered.

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

/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests in flight may take when the server stops: as long as SoundHash waits.
const GRACE: Duration = Duration::from_secs(30);

/// The service behind the layer. There is no router, so the path is its own business.
async fn receive<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match (request.uri().path(), request.extensions().get::<Delivery>()) {
        ("/webhooks/soundhash", Some(delivery)) => handle(delivery),
        ("/webhooks/soundhash", None) => {
            // Only the layer makes a `Delivery`: without one, nothing was verified.
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
    // Takes hyper's own body as it is: any body will do.
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
    // One future for the whole loop: a signal between two rounds would be missed.
    let mut stop = pin!(stop());
    loop {
        let accept = async {
            // When all places are taken, the next connection waits in the system's queue.
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
                // Too many open files, for instance: it passes.
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
