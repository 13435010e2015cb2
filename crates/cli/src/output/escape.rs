//! Escapes untrusted text, so that it cannot control a terminal.

use std::fmt::Write;

use serde::Serialize;

/// Escapes all characters in `text` that could move the cursor, change colors or reorder the
/// displayed text.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_default());
        }
    }
    escaped
}

/// Returns the first `length` characters of `text`, on one line and escaped.
pub(crate) fn excerpt(text: &str, length: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(length) {
        Some((end, _)) => escape(&text[..end]) + "…",
        None => escape(&text),
    }
}

/// Returns `text` as one word of a shell command that can be copied from a terminal.
#[cfg(feature = "database")]
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", escape(text).replace('\'', r"'\''"))
}

/// Returns `value` as JSON on one line, escaping the same characters as [`escape`].
pub(crate) fn json(value: &impl Serialize) -> String {
    harmless_json(&serde_json::to_string(value).expect("a value that JSON can express"))
}

/// Like [`json`], but indented.
pub(crate) fn pretty_json(value: &impl Serialize) -> String {
    harmless_json(&serde_json::to_string_pretty(value).expect("a value that JSON can express"))
}

/// Escapes the characters in valid JSON that could control a terminal. Such characters occur only
/// inside strings, because the rest of JSON is ASCII. Line breaks and tabs occur only outside
/// strings, so they are kept.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, '\n' | '\t') || is_harmless(character) {
            escaped.push(character);
        } else if character == '\r' {
            escaped.push(' ');
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes everything");
            }
        }
    }
    escaped
}

/// Returns whether a character is visible and unable to control a terminal.
pub(crate) fn is_harmless(character: char) -> bool {
    // Joiners, direction marks, line and paragraph separators, the byte order mark, and tags.
    let is_invisible = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "database")]
    fn a_quoted_word_is_one_word() {
        assert_eq!(quoted("a';touch b"), r"'a'\'';touch b'");
    }

    #[test]
    fn control_characters_ansi_sequences_and_bidi_overrides_are_escaped() {
        let text = "a\u{1b}[31m\r\n\u{9b}2J\u{202e}b\u{7f}\u{e0041}";
        let escaped = escape(text);
        assert_eq!(escaped, r"a\u{1b}[31m\r\n\u{9b}2J\u{202e}b\u{7f}\u{e0041}");
        let json = json(&text);
        assert!(json.chars().all(is_harmless), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn text_in_any_script_is_kept() {
        let text = "Título – 曲 🎵 שלום";
        assert_eq!(escape(text), text);
        assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), text);
    }

    #[test]
    fn an_excerpt_is_one_line_cut_between_characters() {
        assert_eq!(excerpt("  a\n\tb ", 10), "a b");
        assert_eq!(excerpt("曲曲曲", 2), "曲曲…");
    }
}
