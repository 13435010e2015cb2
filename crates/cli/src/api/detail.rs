//! The reason given in an API error response.

use axum::http::header;
use serde_json::Value;

use crate::{http::Response, output::escape::excerpt};

/// The maximum length of an error response that is parsed. A parsed JSON value can take a hundred
/// times as much memory as its text.
const MAX_ERROR: usize = 64 << 10;

/// Returns the body of a response as JSON, or `null` if it is too long or not JSON.
pub(super) fn small_json(response: &Response) -> Value {
    let body = (response.body.len() <= MAX_ERROR).then_some(&response.body);
    body.and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default()
}

/// Displays the status, and the API's explanation of it.
pub(super) fn detail(response: &Response) -> String {
    let status = response.status;
    let body = small_json(response);
    if body.is_null() && !response.body.is_empty() {
        return format!("{status}, with {}", content_type(response));
    }
    let members = ["detail", "details", "error"].map(|member| &body[member]);
    let text = match members.into_iter().find(|detail| !detail.is_null()) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(errors)) => errors.iter().map(one_error).collect::<Vec<_>>().join(", "),
        _ => return status.to_string(),
    };
    let text = excerpt(text.trim_end_matches('.'), 500);
    format!("{}: {text}", status.as_u16())
}

/// Displays a validation error: its location and its reason.
fn one_error(error: &Value) -> String {
    let message = error["msg"].as_str().or(error["message"].as_str());
    let location: Vec<_> = (error["loc"].as_array().into_iter().flatten())
        .filter(|part| *part != "body")
        .map(|part| {
            part.as_str()
                .map_or_else(|| part.to_string(), str::to_owned)
        })
        .collect();
    match (location.join("."), message) {
        (location, Some(message)) if !location.is_empty() => format!("{location}: {message}"),
        (_, Some(message)) => message.to_owned(),
        // The rest can repeat what was sent, such as a token.
        _ => "an error without a message".to_owned(),
    }
}

pub(super) fn content_type(response: &Response) -> String {
    let value = response.headers.get(header::CONTENT_TYPE);
    let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let value = value.as_deref().and_then(|value| value.split(';').next());
    match value {
        Some("text/html") => "a web page (text/html)".to_owned(),
        Some("application/json") | None => "a body that is not valid JSON".to_owned(),
        Some(other) => excerpt(other, 80),
    }
}
