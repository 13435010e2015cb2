//! An accept loop with limits, for a server that faces the internet.
//!
//! `axum::serve` does not limit connections, the time for a request's head, or read buffers. A
//! layer cannot limit these either, because they cost memory before the layer sees a request.

use std::{
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::{Service, ServiceExt};
use tracing::{debug, info, warn};

/// The maximum number of connections. Each can occupy about 40 KiB. Further connections wait in the
/// system's queue.
const MAX_CONNECTIONS: usize = 4096;

/// The timeout for the head of a request. It also closes idle keep-alive connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which a connection accepts no further requests. Otherwise, an HTTP/2 connection
/// that answers pings could stay open forever.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The size of the largest HTTP/1 read buffer, and so of the longest head. hyper's default is 408
/// KiB, which is also how much of a chunk size it reads at a time.
const MAX_READ_BUFFER: usize = 16 * 1024;

/// HTTP/2: the maximum number of concurrent requests of a connection, and the bytes that it may
/// send ahead for each request and for all requests together.
const MAX_STREAMS: u32 = 64;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// HTTP/2: the maximum number of reset streams that still occupy the server (CVE-2023-44487).
const MAX_RESETS: usize = 64;

/// The time that requests in progress have when their connection or the server ends, which is as
/// long as SoundHash waits.
const GRACE: Duration = Duration::from_secs(30);

/// Serves a router or another service until `stop` resolves and the requests in progress are
/// answered.
pub(crate) async fn serve<S>(listener: TcpListener, service: S, stop: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let server = builder();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Each connection holds a receiver.
    let (running, _) = watch::channel(());
    // A single future for the whole loop, because a signal between two iterations would be missed.
    let mut stop = pin!(stop);
    loop {
        let accept = async {
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
                warn!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = serve_connection(&server, stream, service.clone(), running.subscribe());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    info!("stopping: no new connections, requests in progress are answered");
    running.send_replace(());
    if timeout(GRACE, running.closed()).await.is_err() {
        warn!("connections are still open after {GRACE:?}");
    }
}

/// Serves a connection until it ends, `stop` changes, or it is too old.
fn serve_connection<S>(
    server: &Builder<TokioExecutor>,
    stream: TcpStream,
    service: S,
    mut stop: watch::Receiver<()>,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let requested = Arc::new(AtomicBool::new(false));
    let on_request = requested.clone();
    let service = service.map_request(move |request| {
        on_request.store(true, Ordering::Relaxed);
        request
    });
    let connection = server
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    async move {
        let mut connection = pin!(connection);
        // hyper-util waits without a timeout until it knows the version of HTTP.
        let silent = async {
            sleep(HEAD_TIMEOUT).await;
            if requested.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silent => return debug!("connection closed, because it sent no request"),
            _ = timeout(MAX_AGE, stop.changed()) => {
                connection.as_mut().graceful_shutdown();
                // A peer may not read its response.
                match timeout(GRACE, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return debug!("connection closed after {GRACE:?}"),
                }
            }
        };
        if let Err(error) = ended {
            debug!("connection ended: {error}");
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_READ_BUFFER);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .keep_alive_interval(HEAD_TIMEOUT);
    server
}
