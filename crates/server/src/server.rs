//! The server: its settings and its accept loop.

use std::{error::Error, io, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tower_service::Service;
use tracing::{info, warn};

use crate::{
    activity::Activity,
    connection,
    limits::{LONGEST_TIME, Limits},
    report::Report,
    service::{Counted, RequestBody},
    slots::{Slot, Slots},
    stream::Watched,
    trouble::Trouble,
};

/// HTTP/2: the number of bytes that a peer may send ahead, per request and per connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// HTTP/2: the number of response bytes that are buffered for a peer that does not read them.
const SEND_BUFFER: usize = 64 * 1024;

/// HTTP/2: the maximum number of reset streams that still occupy the server (CVE-2023-44487).
const MAX_RESETS: usize = 64;

/// The pause after the system has failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1 and HTTP/2 without TLS on a single listener, with limits.
///
/// The setters can be called in any order. All settings have defaults that suit an internet-facing
/// server.
#[derive(Debug)]
#[must_use = "a server does nothing until `serve` is called"]
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    /// Returns a server with the default limits.
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            limits: Limits::default(),
        }
    }

    /// Sets the maximum number of connections, which is 4096 by default.
    ///
    /// The server lowers the maximum to seven eighths of the process's file descriptor limit
    /// (`ulimit -n`), so that the application can still open files and connect to its database.
    /// While the server is closing old connections, up to 16 more can be open.
    ///
    /// When the maximum is reached, the connection that has been idle longest is closed to make
    /// room for a new one. If none is idle, new connections wait in the system's queue. A connection
    /// counts as idle while it waits for the peer. The arrival of 4 KiB of a request body keeps it
    /// for 2 s, but only half of all connections can be kept this way.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.limits.max_connections = max;
        self
    }

    /// Sets the maximum number of connections from one peer, which is three quarters of all
    /// connections by default.
    ///
    /// A peer is an IPv4 address or an IPv6 /64 network. If a peer opens more connections, the one
    /// that has been idle longest is closed. If none of them is idle, the new one is closed. Behind
    /// a reverse proxy, all connections come from the same peer.
    pub fn max_connections_per_peer(mut self, max: usize) -> Self {
        self.limits.max_per_peer = Some(max);
        self
    }

    /// Sets the timeout for a request head, which is 10 s by default.
    ///
    /// The first request has to arrive within this time after the connection is accepted. Each
    /// later head on an HTTP/1 connection has to be complete within this time after its first byte,
    /// and on an HTTP/2 connection within the [`idle_timeout`](Self::idle_timeout). hyper does not
    /// show how much it has read beyond a request, so an HTTP/1 head that begins in the same read as
    /// the end of the previous request has the `idle_timeout`, too.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.limits.head_timeout = timeout.min(LONGEST_TIME);
        self
    }

    /// Sets the time after which an idle connection is closed, which is 75 s by default.
    ///
    /// A connection is idle if it has no request in progress, or if all of its requests are waiting
    /// for the peer to send their bodies or read the responses.
    ///
    /// The timeout should be longer than the idle timeout of a reverse proxy in front of the
    /// server, which is 60 s in nginx, 90 s in Traefik and 2 minutes in Caddy. Otherwise, the server
    /// sometimes closes a connection just as the proxy sends a request on it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_timeout = timeout.min(LONGEST_TIME);
        self
    }

    /// Sets the age after which a connection accepts no further requests, which is 5 minutes by
    /// default. Requests in progress must then end within the [grace time](Self::grace).
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.max_age = age.min(LONGEST_TIME);
        self
    }

    /// Sets how long requests in progress may take to end when the server stops, which is 30 s by
    /// default. Idle connections are closed sooner, usually within the
    /// [`head_timeout`](Self::head_timeout).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace.min(LONGEST_TIME);
        self
    }

    /// Sets the read buffer size of an HTTP/1 connection, which limits the size of a head. The
    /// default is 16 KiB, and the minimum is 8 KiB.
    ///
    /// With hyper's default, a fast sender can make each connection use 408 KiB.
    pub fn max_buf_size(mut self, bytes: usize) -> Self {
        self.limits.max_buf_size = bytes;
        self
    }

    /// Sets the maximum number of concurrent requests on an HTTP/2 connection. The default is 64.
    pub fn max_concurrent_streams(mut self, max: u32) -> Self {
        self.limits.max_streams = max;
        self
    }

    /// Serves an axum router, or another tower service, until `shutdown` resolves and the requests
    /// in progress have ended.
    ///
    /// axum applies the layers of a router without state again for each request. If one of them keeps
    /// its state in the service, as tower's `ConcurrencyLimitLayer` does, call `with_state(())` on
    /// the router first.
    ///
    /// Each request has the peer's [`SocketAddr`](std::net::SocketAddr) in its extensions.
    /// Connections that are still open after the [grace time](Self::grace) are closed.
    ///
    /// Connection and system errors, such as too many open files, do not end the future. These
    /// errors are logged at most once a minute.
    pub async fn serve<S, B>(self, service: S, shutdown: impl Future<Output = ()>)
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let Self { listener, limits } = self;
        let limits = Arc::new(limits.within_file_limit());
        let report = Arc::new(Report::new(limits.clone()));
        let slots = Slots::new(&limits, report.clone());
        let builder = builder(&limits);
        // Each connection holds a receiver, so the channel closes once all connections have ended.
        let (running, _) = watch::channel(());
        let serving = async {
            loop {
                let (stream, slot) = accept(&listener, &slots, &report).await;
                // Fails only if the peer has already closed the connection.
                let _ = stream.set_nodelay(true);
                let activity = Arc::new(Activity::new(slot.requests()));
                let service = Counted::new(service.clone(), slot.addr(), activity.clone());
                let stream = TokioIo::new(Watched::new(stream, activity.clone()));
                let connection = builder.serve_connection(stream, service).into_owned();
                let (limits, report, stop) = (limits.clone(), report.clone(), running.subscribe());
                tokio::spawn(async move {
                    connection::drive(connection, &activity, &slot, &limits, &report, stop).await;
                });
            }
        };
        // None of these futures is dropped before shutdown. Otherwise, a connection waiting for its
        // slot would be lost, or a signal would be missed.
        tokio::select! {
            () = serving => {}
            () = report.log_every_minute() => {}
            () = shutdown => {}
        }
        drop(listener);
        info!("stopping: no new connections, requests in progress are served");
        running.send_replace(());
        // The connections close themselves after the grace time, unless a handler blocks its thread.
        let ended = timeout(limits.grace + Duration::from_secs(1), running.closed()).await;
        report.finish();
        if ended.is_err() {
            warn!("a connection did not end, because a handler blocks its thread");
        }
    }
}

/// Accepts the next connection that gets a slot.
async fn accept(listener: &TcpListener, slots: &Arc<Slots>, report: &Report) -> (TcpStream, Slot) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(slot) = slots.enter(peer).await {
                    return (stream, slot);
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                // The application may have too many files open, for example.
                report.note(Trouble::Accept(error.to_string()), None);
                slots.free_files();
                let _ = timeout(ACCEPT_PAUSE, slots.changed()).await;
            }
        }
    }
}

/// Returns whether the peer closed a connection before it was accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // hyper's timeout would also close connections that are idle between requests.
        .header_read_timeout(None)
        .max_buf_size(limits.max_buf_size.max(8 * 1024));
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .keep_alive_interval(limits.head_timeout);
    server
}
