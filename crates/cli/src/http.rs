//! HTTP requests: the client, answers of a limited size, and errors in words.

use std::{
    error::Error as _,
    fmt,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use reqwest::{
    Client, ClientBuilder, RequestBuilder, StatusCode, Url,
    header::{self, HeaderMap, HeaderName},
    redirect::Policy,
};

use crate::{error::Error, escape::escape};

/// The time that SoundHash waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer that are read.
pub(crate) const MAX_ANSWER: usize = 16 << 20;

/// Returns a client for a URL. Like SoundHash's senders, it does not follow redirects, so that no
/// other host receives tokens or signatures.
pub(crate) fn client(url: &Url, timeout: Duration) -> ClientBuilder {
    // Fails only if it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(timeout).redirect(Policy::none());
    if url.scheme() == "https" {
        client
    } else {
        // Without this, a container without certificates could not even use HTTP.
        client.tls_certs_only([])
    }
}

pub(crate) fn build(client: ClientBuilder) -> Result<Client, Error> {
    client
        .build()
        .map_err(|error| Error::failed(format!("cannot set up HTTP: {}", causes(&error))))
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

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Unreachable(causes(&error))
        } else {
            Self::Broken(causes(&error))
        }
    }
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange(request: RequestBuilder) -> Result<Answer, NoAnswer> {
    let start = Instant::now();
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(NoAnswer::TooLarge);
        }
        body.extend(chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body: body.into(),
        duration: start.elapsed(),
    })
}

/// Returns the innermost cause. reqwest's own messages name the request and not what is wrong.
fn causes(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|error| error.source()) {
        cause = Some(inner);
    }
    let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
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

/// Parses the URL of a receiver.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("not a URL that starts with http:// or https://".to_owned()),
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
