//! Escapes and truncates values for the log.

use std::{error::Error, fmt::Display, time::Duration};

/// The maximum length of a logged error. It is greater than for other text, so that the end of the
/// error is less likely to be cut off.
const MAX_ERROR: usize = 256;

/// Escapes text that a sender may have chosen, so that it cannot start a new line or control a
/// terminal, and truncates it to 64 characters.
pub(crate) fn escape(text: &str) -> String {
    escape_up_to(64, text)
}

pub(super) fn escape_display(text: &dyn Display) -> String {
    escape(&text.to_string())
}

pub(super) fn escape_error(error: &dyn Display) -> String {
    escape_up_to(MAX_ERROR, &error.to_string())
}

/// Formats an error and its sources. The text is escaped, because it may quote a request.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // The loop is bounded, because error sources may form a cycle.
    while let Some(error) = source.filter(|_| text.len() < MAX_ERROR) {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    escape_up_to(MAX_ERROR, &text)
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn escape_up_to(max: usize, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(max));
    let mut chars = text.chars();
    for char in chars.by_ref().take(max) {
        match char {
            // The subscriber escapes quotes and backslashes where its format requires it.
            '"' | '\'' | '\\' => escaped.push(char),
            _ => escaped.extend(char.escape_debug()),
        }
    }
    if !chars.as_str().is_empty() {
        escaped.push('…');
    }
    escaped
}
