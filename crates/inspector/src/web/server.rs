//! The inspector's own listener, which serves only the page.

use std::{
    fmt, future,
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};
use tokio_util::sync::CancellationToken;

use super::guard::Access;
use crate::Inspector;

/// The maximum number of connections, so that the page does not use up the file descriptors that
/// the application needs. A browser opens up to six.
const MAX_CONNECTIONS: usize = 64;
/// The maximum time to wait for open connections when the server stops.
const GRACE: Duration = Duration::from_secs(5);

impl Inspector {
    /// Serves the page at `addr` and prints its URL to stderr, or the reason why it cannot listen at
    /// `addr`.
    ///
    /// To print the URL elsewhere, or to stop the server, use [`bind`](Self::bind).
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`bind`](Self::bind). Once the server is listening, the future
    /// never completes.
    pub fn serve<A>(&self, addr: A) -> impl Future<Output = io::Result<()>> + Send + use<A>
    where
        A: ToSocketAddrs + Send,
    {
        let inspector = self.clone();
        async move {
            let bound = inspector.bind(addr).await;
            // Unlike `eprintln!`, this does not panic if stderr is closed. The error is printed here,
            // because a task that calls this often drops its result.
            let _ = match &bound {
                Ok(server) => writeln!(io::stderr(), "inspector: {}", server.url()),
                Err(error) => writeln!(io::stderr(), "inspector: cannot listen: {error}"),
            };
            bound?.run().await;
            Ok(())
        }
    }

    /// Listens on `addr`, which must be a loopback address unless
    /// [`allow_remote`](Self::allow_remote) is enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if the inspector cannot listen on the address. The error kind is
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the address is not a loopback
    /// address.
    pub async fn bind(&self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let addrs: Vec<_> = lookup_host(addr).await?.collect();
        if let Some(addr) = addrs.iter().find(|addr| !addr.ip().is_loopback())
            && !self.settings().allow_remote
        {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "the inspector does not listen at {addr}, where other machines can reach it: \
                     use 127.0.0.1, or allow it with `Inspector::allow_remote`"
                ),
            ));
        }
        let listener = TcpListener::bind(&addrs[..]).await?;
        let addr = listener.local_addr()?;
        Ok(Server {
            inspector: self.clone(),
            listener,
            addr,
            access: Access::random(),
        })
    }
}

/// The inspector's own server, which is already listening.
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    inspector: Inspector,
    listener: TcpListener,
    addr: SocketAddr,
    access: Access,
}

impl Server {
    /// Returns the URL to open in a browser, including the token.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.addr, self.access.token)
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves the page forever.
    pub async fn run(self) {
        self.run_until(future::pending()).await;
    }

    /// Serves the page until `shutdown` resolves. The server then ends live updates, completes open
    /// requests, and closes connections that are still open after 5 seconds.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let stop = CancellationToken::new();
        let app = self.inspector.guarded(self.access, stop.clone());
        let shutdown = async {
            shutdown.await;
            stop.cancel();
        };
        soundhash_webhook_server::Server::new(self.listener)
            .max_connections(MAX_CONNECTIONS)
            .max_connections_per_peer(MAX_CONNECTIONS)
            // A connection with live updates stays open for as long as the page does.
            .max_age(Duration::MAX)
            .grace(GRACE)
            .serve(app, shutdown)
            .await;
    }
}

/// Omits the token.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
