//! The bodies that may have been signed instead of the received body.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::ControlFlow,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{
    Compression,
    read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder},
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    diagnosis::{DiagnosisKind, Mistake},
    header::Tag,
};
use soundhash_webhook::Timestamp;

use crate::json::{Escapes, Json, Numbers, Spacing};

/// The maximum depth of JSON that is written in other layouts.
const DEEPEST: usize = 128;
/// The maximum number of bytes by which a layout or a decompressed body may be longer than the body.
const GROWTH: usize = 4 * 1024 * 1024;
/// The length of a body above which not every combination of numbers is tried.
const MANY: usize = 16 * 1024;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Receives each body. `Break` ends the search.
type Try<'a> = dyn FnMut(&[u8], Mistake) -> ControlFlow<()> + 'a;

/// Tries the bodies that common mistakes turn into `body`, with the more specific mistakes first.
pub(super) fn visit(body: &[u8], timestamps: &[String], attempt: &mut Try<'_>) -> ControlFlow<()> {
    if body.is_empty() {
        // An empty body does not show which mistake was made.
        return ControlFlow::Continue(());
    }
    let what = "The signature is that of an empty body";
    attempt(b"", DiagnosisKind::EmptyBody.mistake(what))?;
    line_ends(body, attempt)?;
    encodings(body, attempt)?;
    text_encodings(body, attempt)?;
    compression(body, attempt)?;

    let json = Json::parse(body, DEEPEST);
    timestamp(body, timestamps, json.as_ref(), attempt)?;
    if let Some(json) = json {
        newlines(body, Some(&json), attempt)?;
        let kind = DiagnosisKind::Reserialized;
        let what = "The body is the JSON that was signed, in other bytes";
        layouts(&json, body.len(), |bytes| {
            attempt(bytes, kind.mistake(what))
        })?;
        numbers(&json, body.len(), attempt)?;
        sorted(&json, body.len(), attempt)?;
        if let Some(data) = json.get("data") {
            let kind = DiagnosisKind::OnlyDataSigned;
            let what = "The signature is that of `data` alone";
            layouts(data, body.len(), |bytes| attempt(bytes, kind.mistake(what)))?;
        }
        ControlFlow::Continue(())
    } else {
        newlines(body, None, attempt)
    }
}

fn line_ends(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let mistake = |what: &'static str| DiagnosisKind::LineEnd.mistake(what);
    let what = "The body given here has a line end that was not signed";
    let mut rest = body;
    while let Some(shorter) = rest
        .strip_suffix(b"\r\n")
        .or_else(|| rest.strip_suffix(b"\n"))
        .or_else(|| rest.strip_suffix(b"\r"))
        .filter(|_| body.len() - rest.len() < 8)
    {
        rest = shorter;
        attempt(rest, mistake(what))?;
    }
    let what = "The signed body has a line end that the one given here lacks";
    for end in [&b"\n"[..], b"\r\n", b"\n\n", b"\r\n\r\n"] {
        attempt(&[body, end].concat(), mistake(what))?;
    }
    if body.contains(&b'\n') {
        let what = "The signed body has other line ends: CR LF became LF, or LF became CR LF";
        let lf: Vec<u8> = without(body, b"\r");
        let lines: Vec<&[u8]> = lf.split(|&byte| byte == b'\n').collect();
        attempt(&lines.join(&b"\r\n"[..]), mistake(what))?;
        attempt(&lf, mistake(what))?;
    }
    ControlFlow::Continue(())
}

/// Removes all line breaks, as `curl -d @file` does, or puts them back.
fn newlines(body: &[u8], json: Option<&Json<'_>>, attempt: &mut Try<'_>) -> ControlFlow<()> {
    let mistake = |what: &'static str| DiagnosisKind::NewlinesRemoved.mistake(what);
    if body.iter().any(|byte| b"\r\n".contains(byte)) {
        let what = "The line breaks of the body given here were removed before it was signed";
        return attempt(&without(body, b"\r\n"), mistake(what));
    }
    let Some(json) = json else {
        return ControlFlow::Continue(());
    };
    let what = "The line breaks of the signed body were removed";
    for indent in ["  ", "    ", "\t", " "] {
        let limit = body.len() + GROWTH;
        let spacing = Spacing::Indented(indent);
        let Some(pretty) = json.write(spacing, Escapes::Kept, Numbers::Kept, limit) else {
            continue;
        };
        if without(&pretty, b"\r\n") == body {
            for end in [&b""[..], b"\n"] {
                let unix = [&pretty, end].concat();
                attempt(&unix, mistake(what))?;
                let lines: Vec<&[u8]> = unix.split(|&byte| byte == b'\n').collect();
                attempt(&lines.join(&b"\r\n"[..]), mistake(what))?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn without(body: &[u8], bytes: &[u8]) -> Vec<u8> {
    let kept = body.iter().filter(|byte| !bytes.contains(byte));
    kept.copied().collect()
}

fn encodings(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let mark = |what: &'static str| DiagnosisKind::ByteOrderMark.mistake(what);
    if let Some(rest) = body.strip_prefix(BYTE_ORDER_MARK) {
        let what = "The body given here starts with a byte order mark that was not signed";
        attempt(rest, mark(what))?;
    } else {
        let what = "The signed body starts with a byte order mark";
        attempt(&[BYTE_ORDER_MARK, body].concat(), mark(what))?;
    }
    let utf16 = |what: &'static str| DiagnosisKind::BodyUtf16.mistake(what);
    if let Some(text) = from_utf16(body) {
        let what = "The body given here is in UTF-16, and UTF-8 was signed";
        attempt(text.as_bytes(), utf16(what))?;
        attempt(text.trim_end().as_bytes(), utf16(what))?;
    }
    for encoded in to_utf16(body) {
        attempt(&encoded, utf16("The signed body is in UTF-16"))?;
    }
    ControlFlow::Continue(())
}

/// Decodes UTF-16 that has a byte order mark, or whose first character is ASCII.
pub(super) fn from_utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let little_endian = match pairs.first()? {
        [0xff, 0xfe] | [1..=0x7f, 0] => true,
        [0xfe, 0xff] | [0, 1..=0x7f] => false,
        _ => return None,
    };
    let units = pairs.iter().map(|&pair| match little_endian {
        true => u16::from_le_bytes(pair),
        false => u16::from_be_bytes(pair),
    });
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Some(text.to_owned())
}

/// Encodes text in UTF-16 of both byte orders, without and with a byte order mark.
pub(super) fn to_utf16(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = str::from_utf8(bytes) else {
        return Vec::new();
    };
    let marked = format!("\u{feff}{text}");
    let encode =
        |text: &str, to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
    vec![
        encode(text, u16::to_le_bytes),
        encode(text, u16::to_be_bytes),
        encode(&marked, u16::to_le_bytes),
        encode(&marked, u16::to_be_bytes),
    ]
}

/// Undoes the ways in which a text is wrapped or rewritten: as a string of JSON, as a form, or with
/// typographic quotes.
fn text_encodings(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let Ok(text) = str::from_utf8(body) else {
        return ControlFlow::Continue(());
    };
    let twice = |what: &'static str| DiagnosisKind::EncodedTwice.mistake(what);
    if let Ok(inner) = serde_json::from_str::<String>(text) {
        let what = "The body given here is JSON in a string of JSON";
        attempt(inner.as_bytes(), twice(what))?;
    }
    let form = |what: &'static str| DiagnosisKind::FormEncoded.mistake(what);
    if text.starts_with('{') {
        let string = serde_json::to_string(text).unwrap_or_default();
        attempt(
            string.as_bytes(),
            twice("The signed body is JSON in a string of JSON"),
        )?;
        let encoded = form_encoded(text);
        for name in ["", "payload=", "data=", "body="] {
            let signed = [name, &encoded].concat();
            attempt(
                signed.as_bytes(),
                form("The signed body is encoded as a form"),
            )?;
        }
    } else if let Some(decoded) = form_decoded(text) {
        let what = "The body given here is encoded as a form";
        attempt(&decoded, form(what))?;
    }
    let straight = text.replace(['“', '”', '„'], "\"").replace(['‘', '’'], "'");
    if straight.len() != text.len() {
        let what = "The body given here has typographic quotes";
        attempt(
            straight.as_bytes(),
            DiagnosisKind::CurlyQuotes.mistake(what),
        )?;
    }
    ControlFlow::Continue(())
}

/// Encodes a value as HTML forms do.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing into a `String` cannot fail.
                let _ = fmt::Write::write_fmt(&mut encoded, format_args!("%{byte:02X}"));
            }
        }
    }
    encoded
}

/// Decodes the object that is the only value, or the only name, of a form.
fn form_decoded(text: &str) -> Option<Vec<u8>> {
    let value = text
        .split_once('=')
        .map_or(text, |(name, value)| match value {
            "" => name,
            _ => value,
        });
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(16 * digit()? + digit()?).ok()?
            }
            byte => byte,
        });
    }
    decoded.starts_with(b"{").then_some(decoded)
}

fn compression(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let mistake = |what: &'static str| DiagnosisKind::Compressed.mistake(what);
    let limit = (body.len() + GROWTH) as u64;
    let readers: [Box<dyn Read + '_>; 3] = [
        Box::new(MultiGzDecoder::new(body)),
        Box::new(ZlibDecoder::new(body)),
        Box::new(DeflateDecoder::new(body)),
    ];
    for reader in readers {
        let mut plain = Vec::new();
        let read = reader.take(limit).read_to_end(&mut plain);
        if read.is_ok() && !plain.is_empty() {
            let what = "The body given here is compressed, and the plain one was signed";
            attempt(&plain, mistake(what))?;
        }
    }
    let level = Compression::default();
    let compressed: [io::Result<Vec<u8>>; 3] = [
        written(GzEncoder::new(Vec::new(), level), body).and_then(GzEncoder::finish),
        written(ZlibEncoder::new(Vec::new(), level), body).and_then(ZlibEncoder::finish),
        written(DeflateEncoder::new(Vec::new(), level), body).and_then(DeflateEncoder::finish),
    ];
    for bytes in compressed.into_iter().flatten() {
        let what = "The signed body is compressed, and the one given here is not";
        attempt(&bytes, mistake(what))?;
    }
    ControlFlow::Continue(())
}

fn written<W: Write>(mut encoder: W, body: &[u8]) -> io::Result<W> {
    encoder.write_all(body)?;
    Ok(encoder)
}

/// Puts a timestamp and a dot before the body, as other senders do.
fn timestamp(
    body: &[u8],
    timestamps: &[String],
    json: Option<&Json<'_>>,
    attempt: &mut Try<'_>,
) -> ControlFlow<()> {
    let own = ["timestamp", "created_at"]
        .iter()
        .filter_map(|name| json?.get(name)?.text());
    let seconds = own.clone().filter_map(|text| {
        let timestamp: Timestamp = text.parse().ok()?;
        let since = SystemTime::from(timestamp).duration_since(UNIX_EPOCH);
        Some(since.ok()?.as_secs().to_string())
    });
    for timestamp in timestamps.iter().cloned().chain(own.clone()).chain(seconds) {
        let what = "The signature covers a timestamp and a dot before the body";
        let mistake = DiagnosisKind::TimestampSigned.mistake(what);
        attempt(&[timestamp.as_bytes(), b".", body].concat(), mistake)?;
    }
    ControlFlow::Continue(())
}

/// Writes the JSON in the layouts of the usual libraries.
fn layouts(
    json: &Json<'_>,
    len: usize,
    mut attempt: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for spacing in [
        Spacing::Compact,
        Spacing::Spaced,
        Spacing::Indented("  "),
        Spacing::Indented("    "),
    ] {
        for escapes in [Escapes::Kept, Escapes::Fewest, Escapes::Ascii] {
            if let Some(bytes) = json.write(spacing, escapes, Numbers::Kept, len + GROWTH) {
                attempt(&bytes)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Writes whole numbers with and without `.0`, in the layouts of SoundHash's senders.
///
/// JavaScript and Go write `85` for `85.0`, and some Java libraries write `85.0` for `85`. The text
/// does not show which numbers had a fraction, so this tries every combination of a few members.
fn numbers(json: &Json<'_>, len: usize, attempt: &mut Try<'_>) -> ControlFlow<()> {
    /// The members that Python holds as floats.
    const FLOATS: [&str; 12] = [
        "percentage",
        "confidence",
        "duration",
        "processing_time_seconds",
        "processing_time",
        "start_time",
        "end_time",
        "segment_start",
        "segment_end",
        "similarity_score",
        "current_usage",
        "limit_value",
    ];
    const MAX_NAMES: usize = 6;
    let mut names = Vec::new();
    json.whole_numbers(b"", &mut names);
    if names.is_empty() {
        return ControlFlow::Continue(());
    }
    // Names have quotes.
    let is_float = |name: &[u8]| {
        let name = name
            .strip_prefix(b"\"")
            .and_then(|it| it.strip_suffix(b"\""));
        name.is_some_and(|name| FLOATS.iter().any(|it| it.as_bytes() == name))
    };
    names.sort_by_key(|name| !is_float(name));
    names.truncate(MAX_NAMES);
    let what = "The body is the JSON that was signed, with numbers written in another way";
    let all = (1_usize << names.len()) - 1;
    let step = if len > MANY { all } else { 1 };
    for set in (0..=all).rev().step_by(step) {
        let floats = (names.iter().enumerate()).filter(|(bit, _)| set & (1 << bit) != 0);
        let floats: Vec<&[u8]> = floats.map(|(_, name)| *name).collect();
        let numbers = Numbers::Whole { floats: &floats };
        for spacing in [Spacing::Indented("  "), Spacing::Spaced, Spacing::Compact] {
            for escapes in [Escapes::Kept, Escapes::Ascii] {
                if let Some(bytes) = json.write(spacing, escapes, numbers, len + GROWTH) {
                    attempt(&bytes, DiagnosisKind::NumbersRewritten.mistake(what))?;
                }
            }
        }
    }
    ControlFlow::Continue(())
}

/// Sorts the keys, or puts them in the order in which SoundHash's senders write them.
fn sorted(json: &Json<'_>, len: usize, attempt: &mut Try<'_>) -> ControlFlow<()> {
    let try_all = |json: &Json<'_>, what: &'static str, attempt: &mut Try<'_>| {
        layouts(json, len, |bytes| {
            attempt(bytes, DiagnosisKind::SortedKeys.mistake(what))
        })
    };
    let mut sorted = json.clone();
    sorted.sort_by_key(&|name: &str| name.to_owned());
    try_all(&sorted, "The keys of the signed body are sorted", attempt)?;

    // A quota warning has these two in the reverse order.
    for last in ["reset_at", "uploaded_at"] {
        sorted.sort_by_key(&|name: &str| {
            let rank = SENDERS_ORDER.iter().position(|it| *it == name);
            (name == last, rank.unwrap_or(SENDERS_ORDER.len()))
        });
        try_all(
            &sorted,
            "The keys of the body given here were sorted",
            attempt,
        )?;
        // Go sorts keys and rewrites numbers when it writes a map.
        numbers(&sorted, len, attempt)?;
    }
    ControlFlow::Continue(())
}

/// Every key of SoundHash's events, in an order that is consistent with the key order of each
/// event.
#[rustfmt::skip]
const SENDERS_ORDER: [&str; 62] = [
    "id", "match_id", "subscription_id", "event", "query_id", "period", "test", "channel_id",
    "type", "video_id", "query_video_id", "user_id", "timestamp", "matches", "used", "message",
    "created_at", "video_url", "segment_index", "matched_video_id", "limit_type", "username",
    "plan_tier", "webhook_id", "limit", "fingerprint_count", "current_usage", "email",
    "delivery_id", "remaining", "title", "limit_value", "data", "percentage", "video_count", "url",
    "confidence", "resource_id", "ingested_videos", "duration", "segment_start", "start_time",
    "resource_type", "failed_videos", "processing_time_seconds", "status", "segment_end",
    "end_time", "fingerprints", "previous_plan", "job_id", "error", "fingerprint_hash",
    "similarity_score", "processing_time", "job_type", "error_code", "target_id", "uploaded_at",
    "attempt_count", "reset_at", "error_message",
];

/// Returns how many bytes of the body were signed, or `None` if the signature does not match any
/// tried length.
///
/// Tries every length of a short body, and the sizes that buffers usually have.
pub(super) fn signed_length<'a>(
    key: &[u8],
    tags: &'a [Tag],
    body: &[u8],
) -> Option<(&'a Tag, usize)> {
    const SHORT: usize = 16 * 1024;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    let mut hashed = 0;
    (1..body.len())
        .filter(|len| *len <= SHORT || len % 1024 == 0 || len % 1000 == 0)
        .find_map(|len| {
            mac.update(&body[hashed..len]);
            hashed = len;
            let made = mac.clone().finalize().into_bytes();
            let tag = tags.iter().find(|tag| tag.bytes == made[..])?;
            Some((tag, len))
        })
}
