//! Requests to SoundHash's management API, with the token.
//!
//! - `explain`: explains the API's errors, and says what to do next
//! - `model`: the API's responses

mod explain;
pub(crate) mod model;

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{
        Method, Request, Uri,
        header::{self, HeaderValue},
    },
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use self::explain::{Failure, Subject};
use crate::{
    error::Error,
    http::{Client, NoResponse, Response},
    output, secret,
    url::{host_and_port, parse_url},
};

pub(crate) const URL: &str = "SOUNDHASH_API_URL";
pub(crate) const TOKEN: &str = "SOUNDHASH_API_TOKEN";

pub(crate) struct Api {
    client: Client,
    /// `https://…/api/v1/webhooks`
    base: String,
    pub(crate) token: String,
    authorization: HeaderValue,
    pub(crate) timeout: Duration,
}

impl Api {
    pub(crate) fn from_env(timeout: Duration) -> Result<Self, Error> {
        let set =
            |name: &str, value: &str| Error::usage(format!("{name} is not set: set it to {value}"));
        let url = secret::variable(URL)?.ok_or_else(|| {
            let value = "the scheme and host of SoundHash's API, such as https://api.example.com";
            set(URL, value)
        })?;
        let url = scheme_and_host(&url)?;
        let token = secret::variable(TOKEN)?
            .ok_or_else(|| set(TOKEN, "the bearer token of your SoundHash account"))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            Error::usage(format!(
                "{TOKEN} has a line end or another character that is not allowed in a token. Copy \
                 the token again."
            ))
        })?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: Client::from_env(timeout),
            base: format!("{url}api/v1/webhooks"),
            token,
            authorization,
            timeout,
        })
    }

    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        let pairs = (query.iter()).map(|(name, value)| format!("{name}={}", encoded(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        self.call(Method::GET, path, &query, "").await
    }

    pub(crate) async fn post(&self, path: &[&str], body: &str) -> Result<Value, Error> {
        self.call(Method::POST, path, "", body).await
    }

    pub(crate) async fn patch(&self, id: &str, body: &Value) -> Result<Value, Error> {
        self.call(Method::PATCH, &[id], "", &body.to_string()).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Value, Error> {
        self.call(Method::DELETE, &[id], "", "").await
    }

    /// Returns the JSON of a response, or the explanation of a failure.
    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: &str,
    ) -> Result<Value, Error> {
        let failure = match self.exchange(&method, path, query, body).await {
            Err(error) => Failure::NoResponse(error),
            Ok(response) if !response.status.is_success() => Failure::Status(response),
            Ok(response) if response.body.is_empty() => return Ok(Value::Null),
            Ok(response) => match serde_json::from_slice(&response.body) {
                Ok(value) => return Ok(value),
                Err(_) => Failure::NotJson(response),
            },
        };
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        // If an event type was rejected, the list of types explains why.
        let known_events = match failure.is_bad_request() && !body["events"].is_null() {
            true => self.event_types().await,
            false => None,
        };
        let subject = Subject {
            id: path.first().copied(),
            body,
            changes: method != Method::GET,
            known_events,
        };
        Err(Error::failed(failure.explain(self, &subject)))
    }

    async fn event_types(&self) -> Option<Vec<String>> {
        let response = self
            .exchange(&Method::GET, &["events"], "", "")
            .await
            .ok()?;
        let mut types: Value = serde_json::from_slice(&response.body).ok()?;
        serde_json::from_value(types["events"].take()).ok()
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &[&str],
        query: &str,
        body: &str,
    ) -> Result<Response, NoResponse> {
        let mut url = self.base.clone();
        url.extend(path.iter().map(|part| "/".to_owned() + &encoded(part)));
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())));
        self.client.send(request.expect("an encoded URL")).await
    }
}

/// Encodes a part of a path or a query.
fn encoded(text: &str) -> String {
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(text, OTHERS).to_string()
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
