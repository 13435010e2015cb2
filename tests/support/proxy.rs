//! Starts proxies, such as nginx and HAProxy, and a proxy whose connections can be made to hang.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::process::{PATIENCE, signal};

/// A running proxy. Dropping it stops the process.
pub struct Proxy {
    child: Child,
    folder: PathBuf,
    /// The proxy's URL, without a path.
    pub url: String,
}

impl Proxy {
    /// Starts nginx with these lines in its `server` block. Returns `None` if nginx is not
    /// installed.
    pub fn nginx(server: &str) -> Option<Self> {
        Self::start(|folder, addr| {
            let path = folder.display();
            // The worker process needs access to the directory, which belongs to this user.
            let is_root = folder.metadata().expect("a folder").uid() == 0;
            let user = if is_root { "user root;" } else { "" };
            let config = format!(
                "{user} daemon off; worker_processes 1; pid {path}/pid; error_log stderr;
                events {{}}
                http {{
                    access_log off; client_max_body_size 64m;
                    client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                    fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
                    scgi_temp_path {path}/scgi;
                    server {{ listen {addr}; {server} }}
                }}"
            );
            let mut nginx = Command::new("nginx");
            nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c");
            (nginx, config)
        })
    }

    /// Starts HAProxy with the guide's configuration in front of the server at `backend`. Returns
    /// `None` if HAProxy is not installed.
    pub fn haproxy(backend: &str) -> Option<Self> {
        Self::start(|_, addr| {
            let config = format!(
                "defaults\n mode http\n timeout client 35s\n timeout http-request 10s\n \
                 timeout connect 5s\n timeout server 35s\n\
                 frontend web\n bind {addr}\n default_backend app\n\
                 backend app\n server app {backend}\n"
            );
            let mut haproxy = Command::new("haproxy");
            haproxy.args(["-db", "-f"]);
            (haproxy, config)
        })
    }

    /// Starts a program whose last argument is its configuration file.
    pub fn start(program: impl FnOnce(&Path, SocketAddr) -> (Command, String)) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // The listener is closed immediately, because the proxy needs its port.
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let (id, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("soundhash-webhook-proxy-{id}-{count}"));
        fs::create_dir_all(&folder).expect("a folder");
        let (mut command, config) = program(&folder, addr);
        let file = folder.join("config");
        fs::write(&file, config).expect("a file");
        let child = command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let url = format!("http://{addr}");
        let proxy = Self { child, folder, url };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            sleep(Duration::from_millis(10));
        }
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The workers exit only if the proxy is stopped gracefully.
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A TCP proxy whose open connections can be made to hang. It then still reads from them, but
/// forwards nothing, like a proxy that has lost its server.
pub struct HangingProxy {
    pub port: u16,
    hangs: Arc<AtomicU64>,
}

impl HangingProxy {
    /// Starts a proxy in front of the local server on port `server`.
    pub async fn start(server: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let hangs = Arc::new(AtomicU64::new(0));
        let all = Arc::clone(&hangs);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (hangs, opened) = (Arc::clone(&all), all.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    let server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await?;
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let is_alive = move || hangs.load(Ordering::SeqCst) == opened;
                    tokio::spawn(forward(from_server, to_client, is_alive.clone()));
                    forward(from_client, to_server, is_alive).await
                });
            }
        });
        Self { port, hangs }
    }

    /// Makes all open connections hang, but not those that are opened later.
    pub fn hang(&self) {
        self.hangs.fetch_add(1, Ordering::SeqCst);
    }
}

/// Forwards bytes until the sender closes its end. While `is_alive` is false, drops them.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_alive: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    while let len @ 1.. = from.read(&mut bytes).await? {
        if is_alive() {
            to.write_all(&bytes[..len]).await?;
        }
    }
    to.shutdown().await
}
