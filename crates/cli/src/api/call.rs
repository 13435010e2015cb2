//! A request to the API.

use axum::http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The environment variable that contains the API's scheme and host.
pub(super) const URL: &str = "SOUNDHASH_API_URL";

/// An API request, without the token.
pub(super) struct Call {
    pub(super) method: Method,
    /// The encoded path and query.
    pub(super) path: String,
    pub(super) body: String,
    /// The endpoint.
    pub(super) id: Option<String>,
}

impl Call {
    pub(super) fn new(method: Method, path: &[&str], query: &[(&str, &str)], body: String) -> Self {
        let parts: Vec<_> = path.iter().map(|part| encoded(part)).collect();
        let pairs = (query.iter()).map(|(name, value)| format!("{name}={}", encoded(value)));
        let pairs: Vec<_> = pairs.collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        Self {
            method,
            path: parts.join("/") + mark + &pairs.join("&"),
            body,
            id: path.get(1).map(|id| (*id).to_owned()),
        }
    }
}

/// Percent-encodes part of a path or query.
fn encoded(text: &str) -> String {
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(text, OTHERS).to_string()
}
