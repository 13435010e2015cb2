//! Requests to SoundHash's API.

use std::{fmt::Display, time::Duration};

use axum::{
    body::Bytes,
    http::{
        Method, Request, Uri,
        header::{self, HeaderValue},
        request::Builder,
    },
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::explain::{Failure, Subject, explain};
use crate::{
    error::Error,
    http::{self, Client, Connections},
    output, secret,
};

pub(super) const URL: &str = "SOUNDHASH_API_URL";
pub(super) const TOKEN: &str = "SOUNDHASH_API_TOKEN";

pub(super) struct Api {
    client: Client,
    /// `https://…/api/v1/webhooks`
    base: String,
    pub(super) token: String,
    authorization: HeaderValue,
    pub(super) timeout: Duration,
}

impl Api {
    pub(super) fn from_env(timeout: Duration) -> Result<Self, Error> {
        let url = secret::variable(URL)?.ok_or_else(|| {
            Error::usage(format!(
                "{URL} is not set: set it to the scheme and host of SoundHash's API, such as \
                 https://api.example.com"
            ))
        })?;
        let url = scheme_and_host(&url)?;
        let token = secret::variable(TOKEN)?.ok_or_else(|| {
            Error::usage(format!(
                "{TOKEN} is not set: set it to the bearer token of your SoundHash account"
            ))
        })?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            Error::usage(format!(
                "{TOKEN} has a line end or another character that is not allowed in a token. Copy \
                 the token again."
            ))
        })?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: Client::new(&url, timeout, Connections::Reused)?,
            base: format!("{url}api/v1/webhooks"),
            token,
            authorization,
            timeout,
        })
    }

    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        subject: &Subject<'_>,
    ) -> Result<Value, Error> {
        let mut url = self.url(path);
        if !query.is_empty() {
            let pairs = query
                .iter()
                .map(|(name, value)| format!("{name}={}", encoded(value)));
            url = format!("{url}?{}", pairs.collect::<Vec<_>>().join("&"));
        }
        self.send(Method::GET, url, None, subject).await
    }

    pub(super) async fn post(
        &self,
        path: &[&str],
        body: &Value,
        subject: &Subject<'_>,
    ) -> Result<Value, Error> {
        self.send(Method::POST, self.url(path), Some(body), subject)
            .await
    }

    pub(super) async fn patch(
        &self,
        id: &str,
        body: &Value,
        subject: &Subject<'_>,
    ) -> Result<Value, Error> {
        self.send(Method::PATCH, self.url(&[id]), Some(body), subject)
            .await
    }

    pub(super) async fn delete(&self, id: &str) -> Result<(), Error> {
        let subject = Subject::of(id);
        self.send(Method::DELETE, self.url(&[id]), None, &subject)
            .await
            .map(drop)
    }

    /// Asks for the types of event that endpoints can receive. Errors are not reported, because
    /// the answer only explains another error.
    pub(super) async fn event_types(&self) -> Option<Vec<String>> {
        let request = self.request(Method::GET, self.url(&["events"]));
        let answer = self.client.send(request.body(Full::default()).ok()?).await;
        let mut answer: Value = serde_json::from_slice(&answer.ok()?.body).ok()?;
        serde_json::from_value(answer["events"].take()).ok()
    }

    fn url(&self, path: &[&str]) -> String {
        let parts = path.iter().map(|part| format!("/{}", encoded(part)));
        self.base.clone() + &parts.collect::<String>()
    }

    fn request(&self, method: Method, url: String) -> Builder {
        Request::builder()
            .method(method)
            .uri(url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
    }

    async fn send(
        &self,
        method: Method,
        url: String,
        body: Option<&Value>,
        subject: &Subject<'_>,
    ) -> Result<Value, Error> {
        let mut request = self.request(method.clone(), url);
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            bytes = body.to_string().into();
        }
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| Error::failed(format!("the API's URL cannot be called: {error}")))?;
        let failure = match self.client.send(request).await {
            Err(error) => Failure::NoAnswer(error),
            Ok(answer) if !answer.status.is_success() => Failure::Status(answer),
            Ok(answer) if answer.body.is_empty() => return Ok(Value::Null),
            Ok(answer) => match serde_json::from_slice(&answer.body) {
                Ok(value) => return Ok(value),
                Err(_) => Failure::NotJson(answer),
            },
        };
        let changes = method != Method::GET;
        Err(Error::failed(
            explain(self, &failure, subject, changes).await,
        ))
    }
}

/// Encodes a part of a path or a query.
fn encoded(text: &str) -> impl Display {
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(text, OTHERS)
}

/// Parses the scheme and the host that the user gave.
fn scheme_and_host(text: &str) -> Result<Uri, Error> {
    let url = http::parse_url(text).map_err(|error| Error::usage(format!("{URL}: {error}")))?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Error::usage(format!(
            "{URL} must be a scheme and a host, such as https://api.example.com. This command \
             appends /api/v1."
        )));
    }
    let host = url.host().unwrap_or_default();
    let is_local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if url.scheme_str() == Some("http") && !is_local {
        output::warning(format_args!(
            "{URL} starts with http://, so the token is sent without encryption. Use https://."
        ));
    }
    Ok(url)
}
