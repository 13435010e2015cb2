//! Requests to SoundHash's management API, authenticated with the token.
//!
//! - `call`: a request
//! - `token`: the token, and how it is renewed
//! - `detail`: the reason given in an error response
//! - `explain`: explains the API's errors, and says what to do next
//! - `model`: the API's responses

mod call;
mod detail;
mod explain;
pub(crate) mod model;
mod token;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    http::{
        Method, Request, StatusCode, Uri,
        header::{self, HeaderName, HeaderValue},
    },
};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::sleep;

use self::{
    call::{Call, URL},
    detail::small_json,
    explain::explain,
    token::Tokens,
};
use crate::{
    error::Error,
    http::{Client, NoResponse, Response},
    output, secret,
    url::{host_and_port, parse_url},
};

/// The minimum pause before a query is repeated, even if the API asks for a shorter one.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Api {
    client: Client,
    /// `https://…/api/v1/`
    base: String,
    tokens: Tokens,
    timeout: Duration,
    /// How long to keep repeating a query while the API is busy or failing.
    patience: Duration,
    /// How far the API's clock is ahead of this machine's, accurate to about a second.
    clock_ahead: Cell<SignedDuration>,
}

impl Api {
    pub(crate) fn from_env(
        timeout: Duration,
        token_command: Option<String>,
    ) -> Result<Self, Error> {
        let url = secret::variable(URL)?.ok_or_else(|| {
            Error::usage(format!(
                "{URL} is not set: set it to the scheme and host of SoundHash's API, such as \
                 https://api.example.com"
            ))
        })?;
        Ok(Self {
            client: Client::from_env(timeout),
            base: format!("{}api/v1/", scheme_and_host(&url)?),
            tokens: Tokens::from_env(token_command)?,
            timeout,
            patience: Duration::ZERO,
            clock_ahead: Cell::default(),
        })
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn clock_ahead(&self) -> SignedDuration {
        self.clock_ahead.get()
    }

    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Bytes, Error> {
        self.call(Method::GET, path, query, String::new()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: String,
    ) -> Result<Bytes, Error> {
        self.call(method, path, &[], body).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Bytes, Error> {
        self.call(Method::DELETE, &[id], &[], String::new()).await
    }

    /// Returns the response's JSON, or an error that explains the failure. If the token has expired
    /// and can be renewed, the request is repeated with the new token.
    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: String,
    ) -> Result<Bytes, Error> {
        let call = Call::new(method, &[&["webhooks"], path].concat(), query, body);
        if self.tokens.header().is_none() {
            self.renew().await?;
        }
        let mut result = self.patient(&call).await;
        let is_expired = |it: &Response| it.status == StatusCode::UNAUTHORIZED;
        if result.as_ref().is_ok_and(is_expired) && self.renew().await? {
            result = self.patient(&call).await;
        }
        match result {
            Ok(response) if response.status.is_success() && is_json(&response.body) => {
                Ok(response.body)
            }
            failure => {
                let token = self.tokens.header();
                let known = async || self.event_types().await;
                let text = explain(&call, &failure, self.timeout, token.as_ref(), known).await;
                Err(Error::failed(text))
            }
        }
    }

    async fn renew(&self) -> Result<bool, Error> {
        let send = async |call| self.patient(&call).await;
        self.tokens.renew(send).await
    }

    /// Sends a request. If it is a query, retries it while the API is busy or failing, until the
    /// time is up.
    async fn patient(&self, call: &Call) -> Result<Response, NoResponse> {
        let start = Instant::now();
        let mut delay = Duration::from_secs(1);
        loop {
            let result = self.exchange(call).await;
            let (wait, reason) = match &result {
                Ok(it)
                    if it.status == StatusCode::TOO_MANY_REQUESTS
                        || it.status.is_server_error() =>
                {
                    let wait = retry_after(it).map_or(delay, |wait| wait.max(SHORTEST_WAIT));
                    (wait, format!("responded with {}", it.status))
                }
                Ok(_) | Err(NoResponse::InvalidUrl(_)) => return result,
                Err(error) => (delay, format!("did not respond ({error})")),
            };
            let is_repeatable = call.method == Method::GET || call.path.starts_with("auth/");
            if !is_repeatable || start.elapsed().saturating_add(wait) > self.patience {
                return result;
            }
            output::note(format_args!(
                "SoundHash's API {reason}. Trying again in {} s.",
                wait.as_secs()
            ));
            sleep(wait).await;
            delay = delay.saturating_mul(2);
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Response, NoResponse> {
        let url = format!("{}{}", self.base, call.path);
        // This fails if an endpoint's id is too long for a URL.
        let url = Uri::try_from(url).map_err(|error| NoResponse::InvalidUrl(error.to_string()))?;
        let mut request = Request::new(Full::new(Bytes::from(call.body.clone())));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = url;
        let json = HeaderValue::from_static("application/json");
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, json.clone());
        if let Some(authorization) = self.tokens.header() {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        if !call.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, json);
        }
        let response = self.client.send(request).await?;
        if let Some(date) = header_text(&response, &header::DATE).and_then(parse_date) {
            self.clock_ahead.set(date.duration_since(Timestamp::now()));
        }
        Ok(response)
    }

    async fn event_types(&self) -> Option<Vec<String>> {
        let call = Call::new(Method::GET, &["webhooks", "events"], &[], String::new());
        let mut types: Value = small_json(&self.exchange(&call).await.ok()?);
        serde_json::from_value(types["events"].take()).ok()
    }
}

/// Returns whether a body is JSON, or empty.
fn is_json(body: &[u8]) -> bool {
    body.is_empty() || serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// Returns how long the API asks callers to wait.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = header_text(response, &header::RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = parse_date(text)?.duration_since(Timestamp::now());
    Some(wait.try_into().unwrap_or_default())
}

fn header_text<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers.get(name)?.to_str().ok()
}

fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Parses the scheme and the host that the user gave.
fn scheme_and_host(text: &str) -> Result<Uri, Error> {
    let url = parse_url(text).map_err(|error| Error::usage(format!("{URL}: {error}")))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Error::usage(format!(
            "{URL} must be a scheme and a host, such as https://api.example.com. This command \
             appends /api/v1."
        )));
    }
    let (host, _) = host_and_port(&url);
    let is_local = host == "localhost" || host.starts_with("127.") || host == "::1";
    if url.scheme_str() == Some("http") && !is_local {
        output::warning(format_args!(
            "{URL} starts with http://, so the token is sent without encryption. Use https://."
        ));
    }
    Ok(url)
}
