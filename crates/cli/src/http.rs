//! The HTTP client: one connection per request, proxies, response limits, and readable errors.

use std::{
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    http::{
        Request, StatusCode, Uri, Version,
        header::{self, HeaderMap, HeaderName, HeaderValue},
        uri::PathAndQuery,
    },
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::Body,
    client::conn::{http1, http2},
};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{Connection as _, HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{
    CertificateError, ClientConfig, crypto::ring, pki_types::UnixTime, time_provider::TimeProvider,
};
use soundhash_webhook::SIGNATURE_HEADER;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{output::escape::escape, url::host_and_port};

/// The time that SoundHash waits for a response.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A duration longer than the validity period of any certificate.
const CENTURIES: Duration = Duration::from_secs(200 * 365 * 24 * 60 * 60);
/// The maximum number of bytes to read from a response body.
pub(crate) const MAX_RESPONSE: usize = 16 << 20;
/// The maximum length of an HTTP/1 response head. It also limits the work that hyper does before it
/// yields, because hyper parses at most 128 times this length at a time.
const MAX_HEAD: usize = 16 << 10;

type BoxError = Box<dyn StdError + Send + Sync>;
type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A client that does not follow redirects, so that no other host sees tokens or signatures.
///
/// Opens a new connection for each request, as SoundHash's senders do. A delivery over a reused
/// connection would fail if the server closed that connection at the same moment.
#[derive(Clone)]
pub(crate) struct Client {
    timeout: Duration,
    proxies: Option<Arc<Matcher>>,
    offers_http2: bool,
    resets: bool,
    clock: Clock,
}

impl Client {
    /// Returns a client that uses no proxies. The timeout covers a whole exchange, from connecting
    /// to reading the response.
    pub(crate) fn direct(timeout: Duration) -> Self {
        Self {
            timeout,
            proxies: None,
            offers_http2: false,
            resets: false,
            clock: Clock::default(),
        }
    }

    /// Returns a client that uses the proxies in `HTTP_PROXY` and `HTTPS_PROXY`, except for the
    /// hosts in `NO_PROXY`.
    pub(crate) fn from_env(timeout: Duration) -> Self {
        Self {
            proxies: Some(Arc::new(Matcher::from_env())),
            ..Self::direct(timeout)
        }
    }

    /// Resets each connection instead of closing it, so that the system forgets it at once.
    /// Otherwise, the system keeps its port for a minute, and 28,000 requests use up all ports.
    pub(crate) fn reset_connections(mut self) -> Self {
        self.resets = true;
        self
    }

    /// Offers HTTP/2 during the TLS handshake, unlike SoundHash's senders.
    pub(crate) fn offer_http2(&mut self) {
        self.offers_http2 = true;
    }

    /// Connects to a server. If the connection uses TLS, returns the time at which the certificate
    /// expires, provided that the operating system reports it.
    pub(crate) async fn certificate_end(&self, url: &Uri) -> Result<Option<UnixTime>, NoResponse> {
        let check = async {
            self.connect(url).await?;
            let later = Self {
                clock: Clock { ahead: CENTURIES },
                ..self.clone()
            };
            let Err(NoResponse::Unreachable { certificate, .. }) = later.connect(url).await else {
                return Ok(None);
            };
            Ok(match certificate.as_deref() {
                Some(CertificateError::ExpiredContext { not_after, .. }) => Some(*not_after),
                _ => None,
            })
        };
        self.in_time(Box::pin(check)).await
    }

    /// Sends a request to its URL, and reads the response.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> Result<Response, NoResponse>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        self.in_time(Box::pin(self.exchange(request))).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, NoResponse>>,
    ) -> Result<T, NoResponse> {
        let start = Instant::now();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Err(NoResponse::Broken(_))) if start.elapsed() >= self.timeout => {
                Err(NoResponse::Timeout)
            }
            result => result.unwrap_or(Err(NoResponse::Timeout)),
        }
    }

    /// Drives a connection in the background until it ends or the timeout expires.
    ///
    /// If a server never stops sending, its connection is always ready, which can delay tokio's
    /// timers by a minute. Each poll therefore checks the elapsed time itself.
    fn spawn(&self, start: Instant, connection: impl Future<Output: Send> + Send + 'static) {
        let timeout = self.timeout;
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            poll_fn(|cx| match start.elapsed() < timeout {
                true => connection.as_mut().poll(cx).map(drop),
                false => Poll::Ready(()),
            })
            .await;
        });
    }

    async fn exchange<B>(&self, mut request: Request<B>) -> Result<Response, NoResponse>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let start = Instant::now();
        let url = request.uri().clone();
        let stream = self.connect(&url).await?;
        if self.resets {
            // An error means that the connection is broken, which the request then shows.
            let _ = socket(&stream).set_zero_linger();
        }
        // The connection closes once the response has been read completely or dropped.
        let response = if stream.connected().is_negotiated_h2() {
            let handshake = http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await?;
            self.spawn(start, connection);
            sender.send_request(request).await?
        } else {
            self.prepare(&url, &mut request);
            let mut http1 = http1::Builder::new();
            let handshake = http1.max_buf_size(MAX_HEAD).handshake(stream);
            let (mut sender, connection) = handshake.await?;
            match self.resets {
                true => self.spawn(start, connection.without_shutdown()),
                false => self.spawn(start, connection),
            }
            sender.send_request(request).await?
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => NoResponse::TooLarge,
            false => NoResponse::Broken(innermost(&*error)),
        })?;
        Ok(Response {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            duration: start.elapsed(),
        })
    }

    /// Adds the `Host` header that HTTP/1 requires. Sets the request target to the path, or to the
    /// whole URL for plain HTTP through a proxy.
    fn prepare<B>(&self, url: &Uri, request: &mut Request<B>) {
        let host = url.authority().map_or("", |it| it.as_str());
        if let Ok(host) = HeaderValue::from_str(host) {
            request.headers_mut().insert(header::HOST, host);
        }
        match self.proxy(url) {
            Some(proxy) if url.scheme_str() == Some("http") => {
                if let Some(value) = proxy.basic_auth() {
                    let headers = request.headers_mut();
                    headers.insert(header::PROXY_AUTHORIZATION, value.clone());
                }
            }
            _ => {
                let path = url.path_and_query().cloned();
                let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
                *request.uri_mut() = Uri::from(path);
            }
        }
    }

    async fn connect(&self, url: &Uri) -> Result<Connection, NoResponse> {
        let proxy = self.proxy(url);
        let tls = || tls(self.clock.clone(), self.offers_http2);
        connect(url, proxy.as_ref(), tls).await.map_err(|error| {
            let (cause, proxy) = (innermost(&*error), proxy.as_ref().map(proxy_name));
            NoResponse::Unreachable {
                url: url.to_string(),
                proxy,
                cause,
                certificate: certificate_error(&*error).map(Box::new),
            }
        })
    }

    /// Returns the host and port of the proxy for requests to `url`, if there is one.
    pub(crate) fn proxy_name(&self, url: &Uri) -> Option<String> {
        self.proxy(url).as_ref().map(proxy_name)
    }

    /// Returns the proxy for requests to `url`, if there is one. Requests to this machine bypass
    /// the proxy, because it could not reach this machine.
    fn proxy(&self, url: &Uri) -> Option<Intercept> {
        let (host, _) = host_and_port(url);
        let is_local = host == "localhost"
            || host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match &self.proxies {
            Some(proxies) if !is_local => proxies.intercept(url),
            _ => None,
        }
    }
}

async fn connect(
    url: &Uri,
    proxy: Option<&Intercept>,
    tls: impl Fn() -> Result<ClientConfig, rustls::Error>,
) -> Result<Connection, BoxError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let is_https = |url: &Uri| url.scheme_str() == Some("https");
    match proxy {
        Some(proxy) if is_https(url) => {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
            if let Some(value) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(value.clone());
            }
            HttpsConnector::from((tunnel, tls()?))
                .call(url.clone())
                .await
        }
        _ => {
            let server = proxy.map_or(url, Intercept::uri).clone();
            // Sets up TLS only for HTTPS, so that plain HTTP works even in a container without
            // certificates.
            if is_https(&server) {
                HttpsConnector::from((http, tls()?)).call(server).await
            } else {
                Ok(MaybeHttpsStream::Http(http.call(server).await?))
            }
        }
    }
}

fn socket(connection: &Connection) -> &TcpStream {
    match connection {
        MaybeHttpsStream::Http(stream) => stream.inner(),
        MaybeHttpsStream::Https(stream) => stream.inner().get_ref().0.inner().inner(),
    }
}

/// Returns a TLS configuration that verifies server certificates as the operating system does.
fn tls(clock: Clock, offers_http2: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_safe_default_protocol_versions()?
        .try_with_platform_verifier()?
        .with_no_client_auth();
    if offers_http2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// The clock that certificates are checked against. It can be set ahead of the current time.
#[derive(Clone, Debug, Default)]
struct Clock {
    ahead: Duration,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        Some(UnixTime::since_unix_epoch(now + self.ahead))
    }
}

/// Returns the certificate error that caused `error`, if there is one.
fn certificate_error(error: &(dyn StdError + 'static)) -> Option<CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
        return Some(error.clone());
    }
    // `io::Error::source` skips the inner error and returns that error's `source`.
    let inside = error.downcast_ref().and_then(std::io::Error::get_ref);
    match inside {
        Some(inside) => certificate_error(inside),
        None => error.source().and_then(certificate_error),
    }
}

/// Returns a proxy's host and port, without the password in its URL.
fn proxy_name(proxy: &Intercept) -> String {
    let (host, port) = host_and_port(proxy.uri());
    format!("{host}:{port}")
}

/// The header of a response that an idempotency layer gave without calling the handler.
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// A response that was received completely.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) duration: Duration,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the `Location` header if this response is a redirect.
    pub(crate) fn location(&self) -> Option<String> {
        let location = self.headers.get(header::LOCATION);
        let location = location.filter(|_| self.status.is_redirection())?;
        Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
    }
}

/// The reason why no response was received.
#[derive(Debug)]
pub(crate) enum NoResponse {
    Unreachable {
        url: String,
        proxy: Option<String>,
        cause: String,
        certificate: Option<Box<CertificateError>>,
    },
    Timeout,
    TooLarge,
    /// The request's URL is invalid, so nothing was sent.
    InvalidUrl(String),
    Broken(String),
}

impl From<hyper::Error> for NoResponse {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(innermost(&error))
    }
}

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                url, proxy, cause, ..
            } => {
                let through = proxy.as_ref().map(|it| format!(" through the proxy {it}"));
                let through = through.unwrap_or_default();
                write!(f, "cannot connect to {url}{through}: {cause}")
            }
            Self::Timeout => f.write_str("no response in time"),
            Self::TooLarge => write!(f, "the response has more than {} MiB", MAX_RESPONSE >> 20),
            Self::InvalidUrl(cause) => write!(f, "the URL of the request is not valid: {cause}"),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
        }
    }
}

/// Returns the message of the innermost error. The outer errors describe the request rather than
/// what went wrong.
fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = cause.to_string();
    escape(cause.split(" (os error").next().unwrap_or(&cause))
}

/// Removes the headers that describe a connection rather than a message.
///
/// The `Connection` header names such headers. It must not name headers that are meant for the
/// application (RFC 9110, section 7.6.1). Because it is not signed, it cannot be used to remove the
/// signature or a header that describes the body.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = (headers.get_all(header::CONNECTION).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name: &HeaderName| {
            name != SIGNATURE_HEADER && !name.as_str().starts_with("content-")
        })
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}
