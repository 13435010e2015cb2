//! Rewrites the output of Python's `json` module as strict JSON.
//!
//! SoundHash's senders call `json.dumps`, which writes `NaN` and `Infinity` for non-finite floats,
//! `"\ud83c"` for a string that was cut inside a surrogate pair, and integers of any size.
//! `serde_json` rejects all of these. [`to_strict`] replaces them and copies everything else
//! unchanged, whether valid or not, so that `serde_json` still decides what is JSON.
//!
//! No published parser accepts exactly this superset of JSON. Those that accept `NaN` either reject
//! lone surrogates or also accept comments, trailing commas and unquoted keys.

use serde::de::IgnoredAny;

/// Returns `text` as strict JSON, or `None` if nothing needs to be rewritten.
///
/// | in `text` | rewritten |
/// | --- | --- |
/// | `NaN`, `Infinity`, `-Infinity` | `null` |
/// | a number beyond the range of `f64` | `null` |
/// | a surrogate escape without its partner | `\ufffd` |
///
/// This function makes a single pass over `text`, without recursion, and a single allocation of 4/3
/// the length of `text`. That is always enough, because `NaN` is the only token that becomes
/// longer, by one byte.
pub(crate) fn to_strict(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut strict = String::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while let Some(rest @ [first, ..]) = bytes.get(at..) {
        let (length, replacement) = match (in_string, first) {
            (_, b'"') => {
                in_string = !in_string;
                (1, None)
            }
            (true, b'\\') => escape(rest),
            (false, byte) if is_scalar(*byte) => scalar(rest),
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            if strict.is_empty() {
                strict.reserve_exact(text.len() + text.len() / 3);
            }
            strict.push_str(text.get(copied..at).unwrap_or_default());
            strict.push_str(replacement);
            copied = at + length;
        }
        at += length;
    }
    if strict.is_empty() {
        return None;
    }
    strict.push_str(text.get(copied..).unwrap_or_default());
    Some(strict)
}

/// Maps an offset in `strict`, the result of [`to_strict`], to the offset in the original `text`.
pub(super) fn offset_in(text: &[u8], strict: &[u8], offset: usize) -> usize {
    let (mut from, mut to) = (0, 0);
    while to < offset && from < text.len() {
        // `null` is the only replacement that contains an `n` or changes the length.
        let is_null = strict.get(to) == Some(&b'n') && text.get(from) != Some(&b'n');
        (from, to) = match is_null {
            true => (from + scalar_length(text, from), to + "null".len()),
            false => (from + 1, to + 1),
        };
    }
    from
}

/// Returns the length of the escape at the start of `rest`, along with its replacement if it is a
/// lone surrogate.
fn escape(rest: &[u8]) -> (usize, Option<&'static str>) {
    match unit(rest) {
        // Skips both halves of the pair, so that the second half is not mistaken for a lone
        // surrogate.
        Some(0xd800..=0xdbff) if matches!(rest.get(6..).and_then(unit), Some(0xdc00..=0xdfff)) => {
            (12, None)
        }
        Some(0xd800..=0xdfff) => (6, Some("\\ufffd")),
        Some(_) => (6, None),
        None => (2, None),
    }
}

/// Parses the escape `\uXXXX` at the start of `rest`.
fn unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// Returns whether `byte` can be part of a number or of a word such as `null` or `NaN`.
fn is_scalar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' | b'_')
}

/// Returns the length of the number or word at `offset`.
fn scalar_length(text: &[u8], offset: usize) -> usize {
    let rest = text.get(offset..).unwrap_or_default();
    rest.iter().take_while(|&&byte| is_scalar(byte)).count()
}

/// Returns the length of the number or word at the start of `rest`, along with its replacement if
/// it is not strict JSON.
fn scalar(rest: &[u8]) -> (usize, Option<&'static str>) {
    let length = scalar_length(rest, 0);
    let token = rest.get(..length).unwrap_or_default();
    let replaced = match token {
        b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-' | b'0'..=b'9', ..] => is_out_of_range(token),
        _ => false,
    };
    (length, replaced.then_some("null"))
}

/// Returns whether `token` is a JSON number that does not fit into an `f64`.
fn is_out_of_range(token: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(token).is_ok()
        && serde_json::from_slice::<f64>(token).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_is_mapped_back() {
        let text = r#"{"NaN": NaN, "a": ["NaN", NaN,NaN], "b": -Infinity, "c": "\ud83c", "d": 1}"#;
        let strict = to_strict(text).unwrap();
        for part in [
            "\"NaN\"", ", \"a\"", "[", "]", "\"b\"", "\"c\"", "\"d\"", "1}",
        ] {
            let (from, to) = (text.find(part).unwrap(), strict.find(part).unwrap());
            let mapped = offset_in(text.as_bytes(), strict.as_bytes(), to);
            assert_eq!(mapped, from, "{part}");
        }
        let end = offset_in(text.as_bytes(), strict.as_bytes(), strict.len());
        assert_eq!(end, text.len());
    }

    #[test]
    fn the_allocation_is_not_outgrown() {
        for text in [
            "[NaN,NaN,NaN]".to_owned(),
            "NaN".repeat(1000),
            "NaN,".repeat(1000),
        ] {
            let strict = to_strict(&text).unwrap_or_default();
            assert!(
                strict.capacity() <= text.len() * 4 / 3,
                "{}",
                strict.capacity()
            );
        }
    }
}
