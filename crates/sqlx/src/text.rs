//! Escapes U+0000, the only character that Postgres cannot store.

use std::borrow::Cow;

/// Replaces U+0000 with `\0`, and doubles each backslash.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) {
        Cow::Owned(text.replace('\\', r"\\").replace('\0', r"\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Undoes [`escape`].
pub(crate) fn unescape(text: String) -> String {
    if !text.contains('\\') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.next() == Some('0') => plain.push('\0'),
            char => plain.push(char),
        }
    }
    plain
}
