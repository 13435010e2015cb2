//! The same JSON in the layouts that are written in practice.
//!
//! On the text and not through a `Value`, which may sort the keys and would write numbers
//! anew.

use serde::de::IgnoredAny;

/// Deeper nesting is not laid out: its indentation alone would fill the memory.
const DEEPEST: usize = 128;

/// The white space between the tokens.
#[derive(Clone, Copy)]
enum Spacing {
    /// None: JavaScript, `serde_json`.
    Compact,
    /// One space behind each comma and colon: Python's default, and SoundHash's dispatcher.
    Spaced,
    /// One member a line, indented by so many spaces: two are SoundHash's portal.
    Indented(usize),
}

/// How a string is written.
#[derive(Clone, Copy)]
enum Escapes {
    Kept,
    /// Only what must be: JavaScript, `serde_json`.
    Fewest,
    /// Everything that is not printable ASCII: Python's default.
    Ascii,
}

/// Every layout of `json`; none if it is not JSON or nested too deep.
pub(super) fn layouts(json: &[u8]) -> Vec<Vec<u8>> {
    if serde_json::from_slice::<IgnoredAny>(json).is_err() {
        return Vec::new();
    }
    let spacings = [
        Spacing::Compact,
        Spacing::Spaced,
        Spacing::Indented(2),
        Spacing::Indented(4),
    ];
    let escapes = [Escapes::Kept, Escapes::Fewest, Escapes::Ascii];
    spacings
        .into_iter()
        .flat_map(|spacing| escapes.map(|escapes| written(json, spacing, escapes)))
        .flatten()
        .collect()
}

/// `json`, which is JSON, in that layout. Its keys keep their order, its numbers their digits.
fn written(json: &[u8], spacing: Spacing, escapes: Escapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut rest = json;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                let (string, after) =
                    json[json.len() - tail.len() - 1..].split_at(string_len(tail));
                write_string(&mut out, string, escapes);
                rest = after;
            }
            b'{' | b'[' => {
                out.push(*byte);
                depth += 1;
                if depth > DEEPEST {
                    return None;
                }
                // Empty ones stay in one line.
                rest = tail.trim_ascii_start();
                if !matches!(rest, [b'}' | b']', ..]) {
                    break_line(&mut out, spacing, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    break_line(&mut out, spacing, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                match spacing {
                    Spacing::Spaced => out.push(b' '),
                    _ => break_line(&mut out, spacing, depth),
                }
            }
            b':' => match spacing {
                Spacing::Compact => out.push(b':'),
                _ => out.extend(b": "),
            },
            _ => out.push(*byte),
        }
    }
    Some(out)
}

fn break_line(out: &mut Vec<u8>, spacing: Spacing, depth: usize) {
    if let Spacing::Indented(width) = spacing {
        out.push(b'\n');
        out.resize(out.len() + depth * width, b' ');
    }
}

/// The length of a string with both quotes; `tail` is what follows the first one.
fn string_len(tail: &[u8]) -> usize {
    let mut escaped = false;
    let end = tail.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(tail.len(), |end| end + 1) + 1
}

fn write_string(out: &mut Vec<u8>, string: &[u8], escapes: Escapes) {
    // Half a surrogate pair cannot be read, and is kept.
    let fewest = || {
        let text: String = serde_json::from_slice(string).ok()?;
        serde_json::to_string(&text).ok()
    };
    match (escapes, fewest()) {
        (Escapes::Kept, _) | (_, None) => out.extend(string),
        (Escapes::Fewest, Some(text)) => out.extend(text.as_bytes()),
        (Escapes::Ascii, Some(text)) => {
            for character in text.chars() {
                if matches!(character, ' '..='~') {
                    out.push(character as u8);
                } else {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        out.extend(format!("\\u{unit:04x}").as_bytes());
                    }
                }
            }
        }
    }
}
