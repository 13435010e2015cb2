//! The inspector's own listener, which serves only the page.

use std::{fmt, future, io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, ToSocketAddrs, lookup_host},
    sync::{oneshot, watch},
    time::sleep,
};

use super::guard::Token;
use crate::{Inspector, random};

/// The longest wait for open connections when the server stops.
const GRACE: Duration = Duration::from_secs(5);

impl Inspector {
    /// Serves the page at `addr` and prints its URL to stderr.
    ///
    /// To print it elsewhere, or to stop the server, use [`bind`](Self::bind).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`bind`](Self::bind) and of [`Server::run`].
    pub fn serve<A>(&self, addr: A) -> impl Future<Output = io::Result<()>> + Send + use<A>
    where
        A: ToSocketAddrs + Send,
    {
        let inspector = self.clone();
        async move {
            let server = inspector.bind(addr).await?;
            eprintln!("inspector: {}", server.url());
            server.run().await
        }
    }

    /// Listens on `addr`, which must be a loopback address unless
    /// [`allow_remote`](Self::allow_remote) is on.
    ///
    /// # Errors
    ///
    /// Returns an error if the inspector cannot listen on the address. The error has the kind
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the address is not a loopback
    /// address.
    pub async fn bind(&self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let addrs: Vec<_> = lookup_host(addr).await?.collect();
        if let Some(addr) = addrs.iter().find(|addr| !addr.ip().is_loopback())
            && !self.config.allow_remote
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
        let token = Token {
            value: random::token().into(),
            cookie: format!("soundhash_inspector_{}", addr.port()).into(),
        };
        let inspector = self.clone();
        Ok(Server {
            inspector,
            listener,
            addr,
            token,
        })
    }
}

/// The inspector's own server, which is already listening.
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    inspector: Inspector,
    listener: TcpListener,
    addr: SocketAddr,
    token: Token,
}

impl Server {
    /// Returns the URL to open in a browser, with the token in it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.addr, self.token.value)
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves the page until the listener fails.
    ///
    /// # Errors
    ///
    /// Returns an error if the listener fails.
    pub async fn run(self) -> io::Result<()> {
        self.run_until(future::pending()).await
    }

    /// Serves the page until `shutdown` resolves. Then the server ends live updates, answers open
    /// requests, and closes connections that are still open after 5 seconds.
    ///
    /// # Errors
    ///
    /// Returns an error if the listener fails.
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let (stopping, told) = oneshot::channel();
        let app = self.inspector.guarded(self.token, stopped);
        let server = axum::serve(self.listener, app).with_graceful_shutdown(async move {
            shutdown.await;
            stop.send_replace(true);
            let _ = stopping.send(());
            // Kept until here: a stream also ends when this is dropped.
        });
        let grace = async {
            let _ = told.await;
            sleep(GRACE).await;
        };
        tokio::select! {
            ended = server.into_future() => ended,
            () = grace => Ok(()),
        }
    }
}

/// Does not show the token.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
