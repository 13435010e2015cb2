//! The headers that the page may show.

use std::borrow::Cow;

use soundhash_webhook::SIGNATURE_HEADER;

/// Headers that are not confidential. Every other header is hidden, because the owner of an
/// endpoint can configure custom headers, often with a token.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "accept", "accept-encoding", "accept-language", "allow", "cache-control", "connection",
    "content-encoding", "content-length", "content-type", "date", "expect", "forwarded", "host",
    "idempotent-replayed", "retry-after", "server", "traceparent", "transfer-encoding",
    "user-agent", "via", "www-authenticate", "x-delivery-id", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id", "x-webhook-event",
    "x-webhook-id",
];

pub(crate) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

pub(crate) fn is_signature(name: &str) -> bool {
    name == SIGNATURE_HEADER.as_str()
}

/// Returns a header's value for the page, and whether part of it is hidden.
pub(crate) fn shown<'a>(name: &str, value: &'a [u8], sensitive: bool) -> (Cow<'a, str>, bool) {
    let text = String::from_utf8_lossy(value);
    if sensitive || is_harmless(name) {
        return (text, false);
    }
    if !is_signature(name) {
        let hidden = format!("hidden, {} bytes", value.len());
        return (hidden.into(), true);
    }
    // Eight characters are enough to tell two signatures apart, and to see a prefix or whitespace.
    let start: String = text.chars().take(8).collect();
    (
        format!("{start}… (masked, {} bytes)", value.len()).into(),
        true,
    )
}
