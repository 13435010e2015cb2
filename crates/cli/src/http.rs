//! HTTP requests: the client, answers of a limited size, and errors in words.

use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    http::{
        Request, StatusCode, Uri,
        header::{self, HeaderMap, HeaderName},
    },
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::{error::Error, escape::escape};

/// The time that SoundHash waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
pub(crate) const MAX_ANSWER: usize = 16 << 20;

/// What happens to a connection after an answer.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Connections {
    Reused,
    Closed,
}

/// A client that follows no redirects, like SoundHash's senders. Other hosts than that of the URL
/// see neither tokens nor signatures.
#[derive(Clone)]
pub(crate) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// Returns a client for a URL. The timeout is for a whole exchange.
    pub(crate) fn new(
        url: &Uri,
        timeout: Duration,
        connections: Connections,
    ) -> Result<Self, Error> {
        let config =
            tls(url).map_err(|error| Error::failed(format!("cannot set up TLS: {error}")))?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let mut client = legacy::Client::builder(TokioExecutor::new());
        if connections == Connections::Closed {
            client.pool_max_idle_per_host(0);
        }
        Ok(Self {
            inner: client.build(connector),
            timeout,
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or(Err(NoAnswer::Timeout))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let start = Instant::now();
        let response = self.inner.request(request).await.map_err(|error| {
            let reason = match error.is_connect() {
                true => NoAnswer::Unreachable,
                false => NoAnswer::Broken,
            };
            reason(innermost(&error))
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => NoAnswer::TooLarge,
            false => NoAnswer::Broken(innermost(&*error)),
        })?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
            duration: start.elapsed(),
        })
    }
}

/// Returns how to verify the server at a URL.
fn tls(url: &Uri) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = match url.scheme_str() {
        Some("https") => config.try_with_platform_verifier()?,
        // A container without certificates can speak HTTP all the same.
        _ => config.with_root_certificates(RootCertStore::empty()),
    };
    Ok(config.with_no_client_auth())
}

/// An answer that was received completely.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) duration: Duration,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The reason for a missing answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Unreachable(String),
    Timeout,
    TooLarge,
    Broken(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => write!(f, "cannot connect: {cause}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::TooLarge => write!(f, "the answer has more than {} MiB", MAX_ANSWER >> 20),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
        }
    }
}

/// Returns the innermost cause. The outer ones name the request and not what is wrong.
fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = cause.to_string();
    escape(cause.split(" (os error").next().unwrap_or(&cause))
}

/// Removes the headers that describe a connection and not a message.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = (headers.get_all(header::CONNECTION).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
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

/// Characters that no URL has, and that people write all the same.
const UNENCODED: &AsciiSet = &CONTROLS.add(b' ');

/// Parses the URL of a server.
pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let text = text.trim();
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("not a URL that starts with http:// or https://".to_owned());
    }
    let url: Uri = utf8_percent_encode(text, UNENCODED)
        .to_string()
        .parse()
        .map_err(|error| format!("not a URL: {error}"))?;
    let authority = url.authority().map_or("", |it| it.as_str());
    if authority.contains('@') {
        return Err("has a user name or a password, which are not sent".to_owned());
    }
    // An impossible port would be ignored otherwise.
    let port = authority.strip_prefix(url.host().unwrap_or_default());
    match port.and_then(|port| port.strip_prefix(':')) {
        Some(port) if !port.parse().is_ok_and(|port: u16| port > 0) => {
            Err("not a URL: the port has to be a number from 1 to 65535".to_owned())
        }
        _ => Ok(url),
    }
}

/// Parses a number of seconds, which can have a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "not a number of seconds greater than 0".to_owned())
}

/// Displays a duration with a unit that fits.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 10.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}
