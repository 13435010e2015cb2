//! Prepares values for the log.

use std::{error::Error, fmt::Display, time::Duration};

/// The maximum length of an error, which is longer than an id because an error must be readable to its
/// end.
const MAX_ERROR: usize = 256;

/// Returns the first 64 characters of a text that a sender may have chosen, without characters that
/// could begin a line or control a terminal.
pub(crate) fn escape(text: &str) -> String {
    escape_up_to(64, text)
}

pub(super) fn escape_display(text: &dyn Display) -> String {
    escape(&text.to_string())
}

pub(super) fn escape_error(error: &dyn Display) -> String {
    escape_up_to(MAX_ERROR, &error.to_string())
}

/// Returns an error with its sources. These may quote a request, so they are escaped.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    // Stops early, because the sources of an error may form a cycle.
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
            // Quotes and backslashes are left to the subscriber.
            '"' | '\'' | '\\' => escaped.push(char),
            _ => escaped.extend(char.escape_debug()),
        }
    }
    if !chars.as_str().is_empty() {
        escaped.push('…');
    }
    escaped
}
