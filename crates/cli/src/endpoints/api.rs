//! Requests to SoundHash's API.

use std::time::Duration;

use reqwest::{
    Client, Method, Url,
    header::{self, HeaderValue},
};
use serde_json::Value;

use super::explain::{Failure, Subject, explain};
use crate::{
    error::Error,
    escape::escape,
    http::{self, exchange},
    output, secret,
};

pub(super) const URL: &str = "SOUNDHASH_API_URL";
pub(super) const TOKEN: &str = "SOUNDHASH_API_TOKEN";

pub(super) struct Api {
    client: Client,
    /// `…/api/v1/webhooks`
    base: Url,
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
        let base = base(&url)?;
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
            client: http::build(http::client(&base, timeout))?,
            base,
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
            url.query_pairs_mut().extend_pairs(query);
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
        let answer = exchange(request).await.ok()?;
        let mut answer: Value = serde_json::from_slice(&answer.body).ok()?;
        serde_json::from_value(answer["events"].take()).ok()
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.client
            .request(method, url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        subject: &Subject<'_>,
    ) -> Result<Value, Error> {
        let mut request = self.request(method.clone(), url);
        if let Some(body) = body {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let failure = match exchange(request).await {
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

/// Returns the URL of the webhooks below the scheme and host that the user gave.
fn base(text: &str) -> Result<Url, Error> {
    let url = http::parse_url(text.trim())
        .map_err(|error| Error::usage(format!("{URL} is {error}: {}", escape(text))))?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(Error::usage(format!(
            "{URL} must be a scheme and a host, such as https://api.example.com. This command \
             appends /api/v1."
        )));
    }
    let is_local = url
        .host_str()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
    if url.scheme() == "http" && !is_local {
        output::warning(format_args!(
            "{URL} starts with http://, so the token is sent without encryption. Use https://."
        ));
    }
    url.join("/api/v1/webhooks")
        .map_err(|error| Error::usage(format!("{URL}: {error}")))
}
