//! Explains errors of the API: what went wrong, and what to do next. Sends nothing.

use axum::http::{StatusCode, header};
use serde_json::Value;

use super::{
    Api, URL,
    token::{REFRESH_TOKEN, TOKEN},
};
use crate::{
    http::{NoResponse, Response},
    output::escape::{escape, excerpt},
};

/// The texts that SoundHash rejects anywhere in a URL.
const LOCAL: [&str; 4] = ["localhost", "127.0.0.1", "::1", "0.0.0.0"];

/// The request that failed.
pub(super) struct Subject<'a> {
    /// The endpoint.
    pub(super) id: Option<&'a str>,
    pub(super) body: Value,
    /// Whether the request can change anything.
    pub(super) changes: bool,
    /// The event types that the API knows, if one may be the cause.
    pub(super) known_events: Option<Vec<String>>,
}

impl Subject<'_> {
    /// A request without a response may have been carried out.
    fn repeat(&self) -> &'static str {
        match self.changes {
            true => {
                " It may have made the change. Check with `endpoints list` before you repeat the \
                 command."
            }
            false => "",
        }
    }
}

pub(super) enum Failure {
    NoResponse(NoResponse),
    Status(Response),
    NotJson(Response),
}

impl Failure {
    pub(super) fn is_bad_request(&self) -> bool {
        use StatusCode as Code;
        matches!(self, Self::Status(it) if [Code::BAD_REQUEST, Code::UNPROCESSABLE_ENTITY].contains(&it.status))
    }

    pub(super) fn explain(&self, api: &Api, subject: &Subject<'_>) -> String {
        let repeat = subject.repeat();
        match self {
            Self::NoResponse(error @ NoResponse::Unreachable { .. }) => {
                format!("{error}. Check {URL}.")
            }
            Self::NoResponse(NoResponse::Timeout) => format!(
                "SoundHash's API did not respond within {} seconds.{repeat}",
                api.timeout.as_secs_f64()
            ),
            Self::NoResponse(other) => format!("SoundHash's API: {other}.{repeat}"),
            Self::NotJson(response) => format!(
                "the server responded ({}) with {} and not with JSON. Check that {URL} is the \
                 API's host, and not that of a website or a login page.{repeat}",
                response.status,
                content_type(response)
            ),
            Self::Status(response) => explain_status(api, response, subject),
        }
    }
}

fn explain_status(api: &Api, response: &Response, subject: &Subject<'_>) -> String {
    let status = response.status;
    let detail = detail(response);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if api.tokens.text().trim().is_empty() => {
            format!(
                "{TOKEN} is set, but empty ({detail}). Set it to the bearer token of your SoundHash \
             account."
            )
        }
        StatusCode::UNAUTHORIZED if has_scheme(&api.tokens.text()) => format!(
            "SoundHash does not accept {TOKEN} ({detail}). Remove `Bearer ` from its beginning: \
             this command adds it."
        ),
        StatusCode::UNAUTHORIZED => format!(
            "SoundHash does not accept {TOKEN} ({detail}). Tokens expire after half an hour: \
             log in again and set the new one, or set {REFRESH_TOKEN}."
        ),
        StatusCode::FORBIDDEN => {
            let id = subject.id.map(|id| {
                format!(
                    " Endpoint {id} may belong to another account. `endpoints list` shows yours."
                )
            });
            let id = id.unwrap_or_default();
            format!("the account of {TOKEN} may not do this ({detail}).{id}")
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => match subject.id {
            Some(id) if is_about_the_endpoint(response) => format!(
                "there is no endpoint {id} ({detail}). `soundhash-webhook endpoints list` shows \
                 your endpoints."
            ),
            _ => format!("there is no SoundHash API at {URL} ({detail}). Check its host."),
        },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            explain_request(&detail, subject)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            format!("SoundHash limits how often its API is called ({detail}). Wait a minute.")
        }
        _ if status.is_server_error() => format!(
            "SoundHash failed ({detail}). This command cannot fix that, so try later.{}",
            subject.repeat()
        ),
        _ if status.is_redirection() => {
            let location = response.location().map(|url| excerpt(&url, 200));
            format!(
                "the API redirects to {} ({detail}). The token is not sent there. Set {URL} to \
                 the scheme and host of the API.",
                location.as_deref().unwrap_or("another address")
            )
        }
        _ => format!("SoundHash's API responded with {detail}."),
    }
}

/// Explains what is wrong with an endpoint that SoundHash rejects.
fn explain_request(detail: &str, subject: &Subject<'_>) -> String {
    let mut causes = vec![format!("SoundHash does not accept this ({detail}).")];
    let url = subject.body["url"].as_str().unwrap_or_default();
    if let Some(local) = LOCAL.iter().find(|local| url.contains(**local)) {
        causes.push(format!(
            "It rejects every URL that contains `{local}`, because it cannot reach your machine. \
             Start a tunnel to your server, such as `ngrok http 3000`, and register its public \
             URL."
        ));
    }
    if let Some(known) = &subject.known_events {
        let quoted = |name: &str| format!("`{}`", escape(name));
        let unknown: Vec<_> = (subject.body["events"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .filter(|event| !known.iter().any(|it| it == event))
            .map(quoted)
            .collect();
        if !unknown.is_empty() {
            let known: Vec<_> = known.iter().map(|name| escape(name)).collect();
            causes.push(format!(
                "It does not know the event type {}. It knows:\n  {}",
                unknown.join(", "),
                known.join("\n  ")
            ));
        }
    }
    causes.join("\n")
}

fn has_scheme(token: &str) -> bool {
    let start = token.get(..7);
    start.is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
}

/// Returns whether the API says that the endpoint does not exist. Its response to an unknown path
/// has another text.
fn is_about_the_endpoint(response: &Response) -> bool {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    body.is_some_and(|body| body["detail"].is_string() && body["detail"] != "Not Found")
}

/// Displays the status, and the API's explanation of it.
pub(super) fn detail(response: &Response) -> String {
    let status = response.status;
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else {
        return match response.body.is_empty() {
            true => status.to_string(),
            false => format!("{status}, with {}", content_type(response)),
        };
    };
    let members = ["detail", "details", "error"].map(|member| &body[member]);
    let text = match members.into_iter().find(|detail| !detail.is_null()) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(errors)) => errors.iter().map(one_error).collect::<Vec<_>>().join(", "),
        _ => return status.to_string(),
    };
    let text = excerpt(text.trim_end_matches('.'), 500);
    format!("{}: {text}", status.as_u16())
}

/// Displays a validation error: its place and its reason.
fn one_error(error: &Value) -> String {
    let message = error["msg"].as_str().or(error["message"].as_str());
    let place: Vec<_> = (error["loc"].as_array().into_iter().flatten())
        .filter(|part| *part != "body")
        .map(|part| {
            part.as_str()
                .map_or_else(|| part.to_string(), str::to_owned)
        })
        .collect();
    match (place.join("."), message) {
        (place, Some(message)) if !place.is_empty() => format!("{place}: {message}"),
        (_, Some(message)) => message.to_owned(),
        _ => error.to_string(),
    }
}

fn content_type(response: &Response) -> String {
    let value = response.headers.get(header::CONTENT_TYPE);
    let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let value = value.as_deref().and_then(|value| value.split(';').next());
    match value {
        Some("text/html") => "a web page (text/html)".to_owned(),
        Some("application/json") | None => "a body that is not valid JSON".to_owned(),
        Some(other) => excerpt(other, 80),
    }
}
