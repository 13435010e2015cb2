//! A server that runs in the test process, together with its clients and its log.

use std::{
    convert::Infallible,
    future::ready,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    routing::{any, get, post},
};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
};
use h2::client::SendRequest;
use http::Request;
use soundhash_webhook_server::{RequestBody, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tower_service::Service;
use tracing::subscriber::DefaultGuard;

/// The time that a step may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An ordinary request, which is served immediately.
pub(crate) const HONEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A request that stays in progress until [`Running::release`] is called.
pub(crate) const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server that runs until it is stopped, plus this thread's log.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    release: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    log: Log,
    _subscriber: DefaultGuard,
}

impl Running {
    pub(crate) async fn start(configure: impl FnOnce(Server) -> Server) -> Self {
        Self::start_gated(ready(()), configure).await
    }

    /// Starts a server whose service is not ready until `gate` resolves.
    pub(crate) async fn start_gated(
        gate: impl Future<Output = ()> + Send + 'static,
        configure: impl FnOnce(Server) -> Server,
    ) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // All tasks use this subscriber, because the test runs on a single thread.
        let subscriber = tracing::subscriber::set_default(subscriber);
        let release = Arc::new(Notify::new());
        let app = Router::new()
            .route(
                "/",
                get(|Extension(peer): Extension<SocketAddr>| async move { peer.to_string() }),
            )
            .route(
                "/slow",
                any(
                    |State(release): State<Arc<Notify>>, body: Body| async move {
                        release.notified().await;
                        drop(body);
                    },
                ),
            )
            .route(
                "/slow/echo",
                post(
                    |State(release): State<Arc<Notify>>, body: Body| async move {
                        release.notified().await;
                        body
                    },
                ),
            )
            .route(
                "/drain",
                post(|body: Body| async {
                    tokio::spawn(body.into_data_stream().for_each(|_| ready(())));
                }),
            )
            .route("/piece", get(|| async { vec![b'x'; 16 << 20] }))
            .route(
                "/pieces",
                get(|| async {
                    let pieces = (0..4096).map(|_| Ok::<_, io::Error>(vec![b'x'; 4096]));
                    Body::from_stream(futures_util::stream::iter(pieces))
                }),
            )
            .route("/echo", post(|body: String| async { body }))
            .with_state(release.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = configure(Server::new(listener));
        let gate = gate.boxed().shared();
        let task = tokio::spawn(server.serve(Gated { app, gate }, async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            release,
            stop: Some(stop),
            task,
            log,
            _subscriber: subscriber,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Connects from the local address `ip`.
    pub(crate) async fn connect_from(&self, ip: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    /// Lets one slow request finish.
    pub(crate) fn release(&self) {
        self.release.notify_one();
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Stops the server and returns its log.
    pub(crate) async fn ended(mut self) -> String {
        if self.stop.is_some() {
            self.stop();
        }
        let ended = timeout(PATIENCE, self.task).await;
        ended.expect("the server ends").expect("no panic");
        self.log.text()
    }

    /// Waits until the log contains `part`.
    pub(crate) async fn logged(&self, part: &str) {
        let waited = timeout(PATIENCE, async {
            while !self.log.text().contains(part) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "no `{part}` in {}", self.log.text());
    }
}

/// A router that is not ready until its gate opens. It panics if it is called with the path
/// `/panic`.
#[derive(Clone)]
struct Gated {
    app: Router,
    gate: Shared<BoxFuture<'static, ()>>,
}

impl Service<Request<RequestBody>> for Gated {
    type Response = <Router as Service<Request<RequestBody>>>::Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<RequestBody>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.gate.poll_unpin(cx).map(Ok)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        assert_ne!(request.uri().path(), "/panic");
        self.app.call(request)
    }
}

type Bytes = io::Cursor<Vec<u8>>;

/// Connects over HTTP/2. The returned task ends when the server closes the connection.
pub(crate) async fn http2(
    server: &Running,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = server.connect().await;
    let (client, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Sends a GET request over HTTP/2 and returns the response without waiting for its body.
pub(crate) async fn http2_get(
    client: &SendRequest<Bytes>,
    path: &str,
) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    let request = Request::get(format!("http://localhost{path}"))
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await?;
    let (response, _) = client.send_request(request, true)?;
    let response = timeout(PATIENCE, response).await;
    response.expect("a response in time")
}

/// Sends a request and returns the response head.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let response = response(stream).await;
    assert!(!response.is_empty(), "no response");
    response
}

/// Returns the head of the next response, or an empty string at the end of the stream.
pub(crate) async fn response(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let text = String::from_utf8(head).unwrap();
        let length = text.split_once("content-length: ");
        let length = length.map_or(0, |(_, rest)| {
            rest.split("\r\n").next().unwrap().parse().unwrap()
        });
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        text
    };
    timeout(PATIENCE, read).await.expect("a response in time")
}

/// Returns everything received until the server closes the connection.
pub(crate) async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A connection reset also counts as the end.
    let _ = read.expect("should end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A client that requests `/` over HTTP/2 and does not read the response body.
pub(crate) struct Deaf {
    connection: h2::client::Connection<TcpStream, io::Cursor<Vec<u8>>>,
    _client: SendRequest<io::Cursor<Vec<u8>>>,
    response: h2::client::ResponseFuture,
}

impl Deaf {
    /// Connects, and returns once the response head has arrived. After that, the client sends
    /// nothing unless it [waits](Self::closed) for the connection to close.
    pub(crate) async fn connect(stream: TcpStream) -> Self {
        let handshake = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake(stream);
        let (client, mut connection) = handshake.await.unwrap();
        let request = Request::get("http://localhost/").body(()).unwrap();
        let mut client = tokio::select! {
            client = client.ready() => client.unwrap(),
            _ = &mut connection => panic!("the connection ended"),
        };
        let (mut response, _) = client.send_request(request, true).unwrap();
        let head = async {
            tokio::select! {
                head = &mut response => head.unwrap().status(),
                _ = &mut connection => panic!("the connection ended"),
            }
        };
        let status = timeout(PATIENCE, head).await.expect("a response in time");
        assert_eq!(status, 200);
        Self {
            connection,
            _client: client,
            response,
        }
    }

    /// Responds to the server's pings until the server closes the connection.
    pub(crate) async fn closed(self) {
        let ended = timeout(PATIENCE, self.connection).await;
        drop(self.response);
        let _ = ended.expect("should end in time");
    }
}

/// Returns whether the server still responds to requests on this connection.
pub(crate) async fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(HONEST.as_bytes()).await.is_ok()
        && response(stream).await.starts_with("HTTP/1.1 200")
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
