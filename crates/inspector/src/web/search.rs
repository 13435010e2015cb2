//! Searches ids and bodies.

use memchr::memmem;

use crate::{Inspector, Record};

/// Finds the records whose id or body contains `text`. The search ignores case and decodes escapes,
/// because SoundHash escapes all non-ASCII characters.
pub(super) fn search(inspector: &Inspector, text: &str) -> Vec<u64> {
    let text = folded(text.as_bytes());
    // This search takes linear time even for hostile bodies.
    let text = memmem::Finder::new(text.as_bytes());
    let has = |bytes: &[u8]| text.find(folded(bytes).as_bytes()).is_some();
    let is_found = |record: &Record| {
        has(record.event_id().unwrap_or_default().as_bytes()) || has(record.body())
    };
    let records = inspector.store.all().into_iter();
    let found = records.filter(|record| is_found(record));
    found.map(|record| record.number()).collect()
}

/// Returns the text in lowercase, with JSON escapes decoded.
fn folded(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut folded = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        push_lowercase(&mut folded, &rest[..at]);
        let (char, len) = unescaped(&rest[at..]);
        folded.extend(char.to_lowercase());
        rest = &rest[at + len..];
    }
    push_lowercase(&mut folded, rest);
    folded
}

fn push_lowercase(folded: &mut String, text: &str) {
    folded.extend(text.chars().flat_map(char::to_lowercase));
}

/// Decodes the escape at the start of `text`, and returns its character and length. A backslash
/// that does not begin an escape is returned unchanged.
fn unescaped(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let decoded = |units: &[u16]| char::decode_utf16(units.iter().copied()).next()?.ok();
    if let Some(first) = unit(0) {
        let pair = unit(6).and_then(|second| decoded(&[first, second]));
        return match (decoded(&[first]), pair) {
            (Some(char), _) => (char, 6),
            (None, Some(char)) => (char, 12),
            (None, None) => (char::REPLACEMENT_CHARACTER, 6),
        };
    }
    match text.as_bytes().get(1) {
        Some(quoted @ (b'"' | b'\\' | b'/')) => (char::from(*quoted), 2),
        _ => ('\\', 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_case_do_not_matter() {
        for (text, same) in [
            (r"T\u00edtulo", "TÍTULO"),
            (r"\ud83c\udfb5 \u00C9", "🎵 é"),
            (r#"say \"hi\" \\ \/"#, r#"SAY "hi" \ /"#),
            // These escapes are incomplete or invalid.
            (r"\ud83c\n", "\u{fffd}\\n"),
            (r"\u12", r"\u12"),
            (r"\u+123", r"\u+123"),
            ("\\ué0000", "\\ué0000"),
            ("\\", "\\"),
        ] {
            assert_eq!(folded(text.as_bytes()), same.to_lowercase(), "{text}");
        }
    }
}
