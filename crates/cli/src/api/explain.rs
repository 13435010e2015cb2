//! Explains API errors: what went wrong, and what to do next.

use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::{
    call::{Call, URL},
    detail::{content_type, detail, small_json},
    token::{REFRESH_TOKEN, TOKEN},
};
use crate::{
    http::{NoResponse, Response},
    output::escape::{escape, excerpt},
};

/// Strings that SoundHash does not allow anywhere in a URL.
const LOCAL: [&str; 4] = ["localhost", "127.0.0.1", "::1", "0.0.0.0"];

/// Explains why a request did not return JSON. `known` fetches the event types known to the API.
pub(super) async fn explain(
    call: &Call,
    failure: &Result<Response, NoResponse>,
    timeout: Duration,
    token: Option<&HeaderValue>,
    known: impl AsyncFnOnce() -> Option<Vec<String>>,
) -> String {
    // The API may have processed the request even though its response was lost.
    let repeat = match call.method {
        Method::GET => "",
        _ => {
            " It may have made the change. Check with `endpoints list` before you repeat the \
             command."
        }
    };
    match failure {
        Err(error @ NoResponse::Unreachable { .. }) => format!("{error}. Check {URL}."),
        Err(error @ NoResponse::InvalidUrl(_)) => error.to_string(),
        Err(NoResponse::Timeout) => format!(
            "SoundHash's API did not respond within {} seconds.{repeat}",
            timeout.as_secs_f64()
        ),
        Err(other) => format!("SoundHash's API: {other}.{repeat}"),
        Ok(response) if response.status.is_success() => format!(
            "the server responded ({}) with {}. Check that {URL} is the API's host, and not the \
             host of a website or a login page.{repeat}",
            response.status,
            content_type(response)
        ),
        Ok(response) => {
            let bad = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
            if bad.contains(&response.status) {
                return explain_request(&detail(response), call, known).await;
            }
            explain_status(token, response, call, repeat)
        }
    }
}

fn explain_status(
    token: Option<&HeaderValue>,
    response: &Response,
    call: &Call,
    repeat: &str,
) -> String {
    let (status, detail) = (response.status, detail(response));
    let token = token.map_or(&b""[..], |it| it.as_bytes());
    let token = token.strip_prefix(b"Bearer ").unwrap_or(token);
    let id = call.id.as_deref();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if token.trim_ascii().is_empty() => {
            format!(
                "{TOKEN} is set, but empty ({detail}). Set it to the bearer token of your SoundHash \
             account."
            )
        }
        StatusCode::UNAUTHORIZED if has_scheme(token) => format!(
            "SoundHash does not accept {TOKEN} ({detail}). Remove `Bearer ` from its beginning: \
             this command adds it."
        ),
        StatusCode::UNAUTHORIZED => format!(
            "SoundHash does not accept {TOKEN} ({detail}). Tokens expire after half an hour: \
             log in again and set the new one, or set {REFRESH_TOKEN}."
        ),
        StatusCode::FORBIDDEN => {
            let id = id.map(|id| {
                format!(
                    " Endpoint {id} may belong to another account. `endpoints list` shows yours."
                )
            });
            let id = id.unwrap_or_default();
            format!("the account of {TOKEN} may not do this ({detail}).{id}")
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => match id {
            Some(id) if is_about_the_endpoint(response) => format!(
                "there is no endpoint {id} ({detail}). `soundhash-webhook endpoints list` shows \
                 your endpoints."
            ),
            _ => format!("there is no SoundHash API at {URL} ({detail}). Check its host."),
        },
        StatusCode::TOO_MANY_REQUESTS => {
            format!("SoundHash limits how often its API is called ({detail}). Wait a minute.")
        }
        _ if status.is_server_error() => format!(
            "SoundHash failed ({detail}). This command cannot fix that, so try later.{repeat}"
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
async fn explain_request(
    detail: &str,
    call: &Call,
    known: impl AsyncFnOnce() -> Option<Vec<String>>,
) -> String {
    let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
    let mut causes = vec![format!("SoundHash does not accept this ({detail}).")];
    let url = body["url"].as_str().unwrap_or_default();
    if let Some(local) = LOCAL.iter().find(|local| url.contains(**local)) {
        causes.push(format!(
            "It rejects every URL that contains `{local}`, because it cannot reach your machine. \
             Start a tunnel to your server, such as `ngrok http 3000`, and register its public \
             URL."
        ));
    }
    if !body["events"].is_null()
        && let Some(known) = known().await
    {
        let quoted = |name: &str| format!("`{}`", escape(name));
        let unknown: Vec<_> = (body["events"].as_array().into_iter().flatten())
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

fn has_scheme(token: &[u8]) -> bool {
    let start = token.get(..7);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"bearer "))
}

/// Returns whether the response is about the endpoint rather than an unknown path.
fn is_about_the_endpoint(response: &Response) -> bool {
    let body = small_json(response);
    body["detail"].is_string() && body["detail"] != "Not Found"
}
