//! An accept loop with limits, for a server that faces the internet.
//!
//! `axum::serve` does not limit connections, the time for a request's head, or read buffers. A
//! layer cannot limit these either, because they cost memory before the layer sees a request.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::Service;
use tracing::{debug, info, warn};

/// The maximum number of connections. Each can occupy about 40 KiB. Further connections wait in the
/// system's queue.
const MAX_CONNECTIONS: usize = 4096;

/// The timeout for the head of a request. It also closes idle keep-alive connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of an HTTP/1 read buffer, and therefore of a head. hyper's default is 408 KiB,
/// and hyper also reads up to this much of a chunk size at a time.
const MAX_READ_BUFFER: usize = 16 * 1024;

/// HTTP/2: the maximum number of concurrent requests of a connection, and the bytes that it may
/// send ahead for each request and for all requests together.
const MAX_STREAMS: u32 = 64;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// HTTP/2: the maximum number of reset streams that still occupy the server (CVE-2023-44487).
const MAX_RESETS: usize = 64;

/// The time for requests in progress when the server stops. SoundHash waits as long.
const GRACE: Duration = Duration::from_secs(30);

/// Serves a router or another service until `stop` resolves and the requests in progress are
/// answered.
pub(crate) async fn serve<S>(listener: TcpListener, service: S, stop: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let service = TowerToHyperService::new(service);
    let server = builder();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!("connection ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    info!("stopping: requests in progress are answered, and new connections are not accepted");
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        warn!("stopped with open connections after {GRACE:?}");
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
