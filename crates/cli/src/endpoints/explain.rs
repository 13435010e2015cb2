//! Explains errors of the API: what went wrong, and what to do next.

use axum::http::{StatusCode, header};
use serde_json::Value;

use super::api::{Api, TOKEN, URL};
use crate::{
    escape::{escape, excerpt},
    http::{Answer, NoAnswer},
};

/// Parts of a URL that SoundHash rejects wherever they are.
const LOCAL: [&str; 4] = ["localhost", "127.0.0.1", "::1", "0.0.0.0"];

/// The endpoint that a request is about.
#[derive(Default)]
pub(super) struct Subject<'a> {
    pub(super) id: Option<&'a str>,
    /// The endpoint's URL, where it is set.
    pub(super) url: Option<&'a str>,
    /// The endpoint's types of event, where they are set.
    pub(super) events: &'a [String],
}

impl<'a> Subject<'a> {
    /// An endpoint.
    pub(super) fn of(id: &'a str) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }
}

pub(super) enum Failure {
    NoAnswer(NoAnswer),
    Status(Answer),
    NotJson(Answer),
}

/// Explains why a request failed. `changes` says whether the request changes anything.
pub(super) async fn explain(
    api: &Api,
    failure: &Failure,
    subject: &Subject<'_>,
    changes: bool,
) -> String {
    match failure {
        Failure::NoAnswer(NoAnswer::Unreachable(cause)) => {
            format!("cannot connect to SoundHash's API: {cause}. Check {URL}.")
        }
        Failure::NoAnswer(NoAnswer::Timeout) => format!(
            "SoundHash's API did not answer within {} seconds.{}",
            api.timeout.as_secs_f64(),
            repeat(changes)
        ),
        Failure::NoAnswer(other) => {
            format!("SoundHash's API: {other}.{}", repeat(changes))
        }
        Failure::NotJson(answer) => format!(
            "{} answered with {} and not with JSON. Check that {URL} is the API's host, and not \
             that of a website or a login page.{}",
            api_name(answer),
            content_type(answer),
            repeat(changes)
        ),
        Failure::Status(answer) => explain_status(api, answer, subject, changes).await,
    }
}

/// A request without an answer may have been carried out.
fn repeat(changes: bool) -> &'static str {
    if changes {
        " It may have made the change. Check with `endpoints list` before you repeat the command."
    } else {
        ""
    }
}

async fn explain_status(
    api: &Api,
    answer: &Answer,
    subject: &Subject<'_>,
    changes: bool,
) -> String {
    let status = answer.status;
    let said = said(answer);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if api.token.trim().is_empty() => format!(
            "{TOKEN} is set, but empty ({said}). Set it to the bearer token of your SoundHash \
             account."
        ),
        StatusCode::UNAUTHORIZED if has_scheme(&api.token) => format!(
            "SoundHash does not accept {TOKEN} ({said}). Remove `Bearer ` from its beginning: \
             this command adds it."
        ),
        StatusCode::UNAUTHORIZED => format!(
            "SoundHash does not accept {TOKEN} ({said}). Tokens expire: log in again and set the \
             new one."
        ),
        StatusCode::FORBIDDEN => {
            let id = subject.id.map(|id| {
                format!(
                    " Endpoint {id} may belong to another account. `endpoints list` shows yours."
                )
            });
            format!(
                "the account of {TOKEN} may not do this ({said}).{}",
                id.unwrap_or_default()
            )
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => match subject.id {
            Some(id) if is_about_the_endpoint(answer) => format!(
                "there is no endpoint {id} ({said}). `soundhash-webhook endpoints list` shows your \
                 endpoints."
            ),
            _ => format!("there is no SoundHash API at {URL} ({said}). Check its host."),
        },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            explain_request(api, &said, subject).await
        }
        StatusCode::TOO_MANY_REQUESTS => {
            format!("SoundHash limits how often its API is called ({said}). Wait a minute.")
        }
        _ if status.is_server_error() => {
            let repeat = repeat(changes);
            format!(
                "SoundHash failed ({said}). This command cannot fix that, so try later.{repeat}"
            )
        }
        _ if status.is_redirection() => {
            let location = answer.headers.get(header::LOCATION);
            let location = location.map(|url| String::from_utf8_lossy(url.as_bytes()));
            format!(
                "the API redirects to {} ({said}). The token is not sent there. Set {URL} to the \
                 scheme and host of the API.",
                location.map_or_else(|| "another address".to_owned(), |url| excerpt(&url, 200))
            )
        }
        _ => format!("SoundHash's API answered with {said}."),
    }
}

/// Explains what is wrong with an endpoint that SoundHash rejects.
async fn explain_request(api: &Api, said: &str, subject: &Subject<'_>) -> String {
    let mut causes = vec![format!("SoundHash does not accept this ({said}).")];
    if let Some(local) =
        (subject.url).and_then(|url| LOCAL.iter().find(|local| url.contains(**local)))
    {
        causes.push(format!(
            "It rejects every URL that contains `{local}`, because it cannot reach your machine. \
             Start a tunnel to your server, such as `ngrok http 3000`, and register its public \
             URL."
        ));
    }
    if !subject.events.is_empty()
        && let Some(types) = api.event_types().await
    {
        let unknown: Vec<_> = (subject.events.iter())
            .filter(|event| !types.contains(event))
            .map(|event| format!("`{}`", escape(event)))
            .collect();
        if !unknown.is_empty() {
            causes.push(format!(
                "It does not know the event type {}. It knows:\n  {}",
                unknown.join(", "),
                types
                    .iter()
                    .map(|name| escape(name))
                    .collect::<Vec<_>>()
                    .join("\n  ")
            ));
        }
    }
    causes.join("\n")
}

fn has_scheme(token: &str) -> bool {
    token
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
}

/// Returns whether the API says that the endpoint does not exist. Its answer to an unknown path has
/// another text.
fn is_about_the_endpoint(answer: &Answer) -> bool {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    body.is_some_and(|body| body["detail"].is_string() && body["detail"] != "Not Found")
}

/// Displays the status, and the API's explanation of it.
fn said(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return if answer.body.is_empty() {
            answer.status.to_string()
        } else {
            format!("{}, with {}", answer.status, content_type(answer))
        };
    };
    let detail = ["detail", "details", "error"]
        .iter()
        .map(|member| &body[*member])
        .find(|detail| !detail.is_null());
    let text = match detail {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(errors)) => errors.iter().map(one_error).collect::<Vec<_>>().join(", "),
        _ => return answer.status.to_string(),
    };
    format!("{status}: {}", excerpt(text.trim_end_matches('.'), 500))
}

/// Displays an error of the validation: where it is, and what is wrong.
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

fn api_name(answer: &Answer) -> String {
    format!("The server ({})", answer.status)
}

fn content_type(answer: &Answer) -> String {
    let value = answer.headers.get(header::CONTENT_TYPE);
    let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let value = value.as_deref().and_then(|value| value.split(';').next());
    match value {
        Some("text/html") => "a web page (text/html)".to_owned(),
        Some("application/json") | None => "a body that is not valid JSON".to_owned(),
        Some(other) => excerpt(other, 80),
    }
}
