//! Finds bodies that may have been signed instead of the received body.

use std::{
    collections::HashSet,
    io::Read,
    ops::ControlFlow,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{
    Compression,
    read::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use soundhash_webhook::Timestamp;

use super::{
    diagnosis::DiagnosisKind::{
        self, BodyUtf16, ByteOrderMark, Compressed, CurlyQuotes, EmptyBody, EncodedTwice,
        FormEncoded, LineEnd, NewlinesRemoved, NumbersRewritten, OnlyDataSigned, Reserialized,
        SortedKeys, TimestampSigned,
    },
    header::Tag,
    json::{Escapes, Json, Numbers, Spacing},
};

/// The maximum nesting depth of JSON that is rewritten in other layouts.
const DEEPEST: usize = 128;
/// The maximum number of bytes by which a decompressed body may exceed the received body.
const GROWTH: usize = 4 * 1024 * 1024;
/// The maximum length of a body for which every combination of numbers is tried.
const MANY: usize = 8 * 1024;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the maximum length of a body of `len` bytes in another layout. Indentation can make a
/// nested body a hundred times as long.
fn longest(len: usize) -> usize {
    8 * len + 64 * 1024
}

/// Called with each candidate body and the mistake that would explain it. `Break` ends the search.
type Try<'a> = dyn FnMut(DiagnosisKind, &'static str, &[u8]) -> ControlFlow<()> + 'a;

/// Tries the bodies that common mistakes turn into `body`, with the more specific mistakes first.
pub(super) fn visit(body: &[u8], timestamps: &[String], attempt: &mut Try<'_>) -> ControlFlow<()> {
    if body.is_empty() {
        // An empty body says nothing about the signed body.
        return ControlFlow::Continue(());
    }
    attempt(EmptyBody, "The signature is for an empty body", b"")?;
    line_ends(body, attempt)?;
    encodings(body, attempt)?;
    text_encodings(body, attempt)?;
    compression(body, attempt)?;

    let json = Json::parse(body, DEEPEST);
    timestamp(body, timestamps, json.as_ref(), attempt)?;
    newlines(body, json.as_ref(), attempt)?;
    let Some(json) = json else {
        return ControlFlow::Continue(());
    };
    let what = "The body is the JSON that was signed, in other bytes";
    layouts(&json, body.len(), |bytes| {
        attempt(Reserialized, what, bytes)
    })?;
    numbers(&json, body.len(), attempt)?;
    sorted(&json, body.len(), attempt)?;
    let Some(data) = json.get("data") else {
        return ControlFlow::Continue(());
    };
    let what = "The signature is for `data` alone";
    layouts(data, body.len(), |bytes| {
        attempt(OnlyDataSigned, what, bytes)
    })
}

fn line_ends(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let what = "The body given here has a line end that was not signed";
    let mut rest = body;
    while let Some(shorter) = rest
        .strip_suffix(b"\r\n")
        .or_else(|| rest.strip_suffix(b"\n"))
        .or_else(|| rest.strip_suffix(b"\r"))
        .filter(|_| body.len() - rest.len() < 8)
    {
        rest = shorter;
        attempt(LineEnd, what, rest)?;
    }
    let what = "The signed body has a line end that the one given here lacks";
    for end in [&b"\n"[..], b"\r\n", b"\n\n", b"\r\n\r\n"] {
        attempt(LineEnd, what, &[body, end].concat())?;
    }
    if body.contains(&b'\n') {
        let what = "The signed body has other line ends: CR LF became LF, or LF became CR LF";
        let lf: Vec<u8> = without(body, b"\r");
        attempt(LineEnd, what, &with_crlf(&lf))?;
        attempt(LineEnd, what, &lf)?;
    }
    ControlFlow::Continue(())
}

fn with_crlf(text: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    lines.join(&b"\r\n"[..])
}

/// Removes all line breaks, as `curl -d @file` does, or puts them back.
fn newlines(body: &[u8], json: Option<&Json<'_>>, attempt: &mut Try<'_>) -> ControlFlow<()> {
    if body.iter().any(|byte| b"\r\n".contains(byte)) {
        let what = "The line breaks of the body given here were removed before it was signed";
        return attempt(NewlinesRemoved, what, &without(body, b"\r\n"));
    }
    let Some(json) = json else {
        return ControlFlow::Continue(());
    };
    for indent in ["  ", "    ", "\t", " "] {
        let spacing = Spacing::Indented(indent);
        let limit = longest(body.len());
        let pretty = json.write(spacing, Escapes::Kept, Numbers::Kept, limit);
        if let Some(pretty) = pretty.filter(|it| without(it, b"\r\n") == body) {
            for end in [&b""[..], b"\n"] {
                let what = "The line breaks of the signed body were removed";
                let unix = [&pretty, end].concat();
                attempt(NewlinesRemoved, what, &unix)?;
                attempt(NewlinesRemoved, what, &with_crlf(&unix))?;
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
    if let Some(rest) = body.strip_prefix(BYTE_ORDER_MARK) {
        let what = "The body given here starts with a byte order mark that was not signed";
        attempt(ByteOrderMark, what, rest)?;
    } else {
        let what = "The signed body starts with a byte order mark";
        attempt(ByteOrderMark, what, &[BYTE_ORDER_MARK, body].concat())?;
    }
    if let Some(text) = from_utf16(body) {
        let what = "The body given here is in UTF-16, and UTF-8 was signed";
        attempt(BodyUtf16, what, text.as_bytes())?;
        attempt(BodyUtf16, what, text.trim_end().as_bytes())?;
    }
    for encoded in to_utf16(body) {
        attempt(BodyUtf16, "The signed body is in UTF-16", &encoded)?;
    }
    ControlFlow::Continue(())
}

/// Decodes UTF-16 that has a byte order mark or starts with an ASCII character.
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

/// Encodes text as UTF-16 in both byte orders, with and without a byte order mark.
pub(super) fn to_utf16(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let text = str::from_utf8(bytes).into_iter();
    let texts = text.flat_map(|text| [text.to_owned(), format!("\u{feff}{text}")]);
    texts.flat_map(|text| {
        [u16::to_le_bytes, u16::to_be_bytes]
            .map(|to_bytes| text.encode_utf16().flat_map(to_bytes).collect())
    })
}

/// Adds or removes encoding as a JSON string or a form, and replaces typographic quotes.
fn text_encodings(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let Ok(text) = str::from_utf8(body) else {
        return ControlFlow::Continue(());
    };
    if let Ok(inner) = serde_json::from_str::<String>(text) {
        let what = "The body given here is JSON in a string of JSON";
        attempt(EncodedTwice, what, inner.as_bytes())?;
    }
    if text.starts_with('{') {
        let string = serde_json::to_string(text).unwrap_or_default();
        let what = "The signed body is JSON in a string of JSON";
        attempt(EncodedTwice, what, string.as_bytes())?;
        let encoded: String = form_urlencoded::byte_serialize(body).collect();
        for name in ["", "payload=", "data=", "body="] {
            let what = "The signed body is encoded as a form";
            attempt(FormEncoded, what, (name.to_owned() + &encoded).as_bytes())?;
        }
    } else if let Some(decoded) = form_decoded(body) {
        let what = "The body given here is encoded as a form";
        attempt(FormEncoded, what, decoded.as_bytes())?;
    }
    let straight = text.replace(['“', '”', '„'], "\"").replace(['‘', '’'], "'");
    if straight.len() == text.len() {
        return ControlFlow::Continue(());
    }
    let what = "The body given here has typographic quotes";
    attempt(CurlyQuotes, what, straight.as_bytes())
}

/// Decodes a form that contains only a JSON object, as either a value or a name.
fn form_decoded(body: &[u8]) -> Option<String> {
    let (name, value) = form_urlencoded::parse(body).next()?;
    let decoded = if value.is_empty() { name } else { value };
    decoded.starts_with('{').then(|| decoded.into_owned())
}

fn compression(body: &[u8], attempt: &mut Try<'_>) -> ControlFlow<()> {
    let limit = (body.len() + GROWTH) as u64;
    let level = Compression::default();
    let here = "The body given here is compressed, and the plain one was signed";
    let there = "The signed body is compressed, and the one given here is not";
    let readers: [(&str, Box<dyn Read + '_>); 6] = [
        (here, Box::new(MultiGzDecoder::new(body))),
        (here, Box::new(ZlibDecoder::new(body))),
        (here, Box::new(DeflateDecoder::new(body))),
        (there, Box::new(GzEncoder::new(body, level))),
        (there, Box::new(ZlibEncoder::new(body, level))),
        (there, Box::new(DeflateEncoder::new(body, level))),
    ];
    for (what, reader) in readers {
        let mut bytes = Vec::new();
        let read = reader.take(limit).read_to_end(&mut bytes);
        if read.is_ok() && !bytes.is_empty() {
            attempt(Compressed, what, &bytes)?;
        }
    }
    ControlFlow::Continue(())
}

/// Puts a timestamp and a dot before the body, as some other webhook senders do before they sign
/// it.
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
        let signed = [timestamp.as_bytes(), b".", body].concat();
        attempt(TimestampSigned, what, &signed)?;
    }
    ControlFlow::Continue(())
}

/// Writes the JSON in the layouts that common libraries use.
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
            if let Some(bytes) = json.write(spacing, escapes, Numbers::Kept, longest(len)) {
                attempt(&bytes)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Writes whole numbers with and without `.0`, in the layouts of SoundHash's senders.
///
/// JavaScript and Go write `85` for `85.0`, and some Java libraries write `85.0` for `85`. The
/// received text does not show which numbers had a fraction, so every combination is tried for a
/// few of the members.
fn numbers(json: &Json<'_>, len: usize, attempt: &mut Try<'_>) -> ControlFlow<()> {
    /// The quoted names of the members that are floats in Python.
    #[rustfmt::skip]
    const FLOATS: [&str; 12] = [
        "\"percentage\"", "\"confidence\"", "\"duration\"", "\"processing_time_seconds\"",
        "\"processing_time\"", "\"start_time\"", "\"end_time\"", "\"segment_start\"",
        "\"segment_end\"", "\"similarity_score\"", "\"current_usage\"", "\"limit_value\"",
    ];
    const MAX_NAMES: usize = 6;
    let mut names = Vec::new();
    if json.whole_numbers(&mut names) {
        names.push(b"");
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(*name));
    if names.is_empty() {
        return ControlFlow::Continue(());
    }
    names.sort_by_key(|name| !FLOATS.iter().any(|it| it.as_bytes() == *name));
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
                if let Some(bytes) = json.write(spacing, escapes, numbers, longest(len)) {
                    attempt(NumbersRewritten, what, &bytes)?;
                }
            }
        }
    }
    ControlFlow::Continue(())
}

/// Sorts the keys, or puts them in the order in which SoundHash's senders write them. Skips an order
/// whose layouts were tried before.
fn sorted(json: &Json<'_>, len: usize, attempt: &mut Try<'_>) -> ControlFlow<()> {
    let text =
        |json: &Json<'_>| json.write(Spacing::Compact, Escapes::Kept, Numbers::Kept, longest(len));
    let mut tried = vec![text(json)];
    let mut sorted = json.clone();
    sorted.sort_by_key(&|name: &str| name.to_owned());
    if !tried.contains(&text(&sorted)) {
        let what = "The keys of the signed body are sorted";
        layouts(&sorted, len, |bytes| attempt(SortedKeys, what, bytes))?;
    }

    let what = "The keys of the body given here were sorted";
    // Quota warnings have these two keys in the opposite order, so each of them is tried as the
    // last key.
    for last in ["reset_at", "uploaded_at"] {
        sorted.sort_by_key(&|name: &str| {
            let rank = SENDERS_ORDER.iter().position(|it| *it == name);
            (name == last, rank.unwrap_or(SENDERS_ORDER.len()))
        });
        let text = text(&sorted);
        if tried.contains(&text) {
            continue;
        }
        tried.push(text);
        layouts(&sorted, len, |bytes| attempt(SortedKeys, what, bytes))?;
        // When Go writes a map as JSON, it both sorts the keys and rewrites numbers.
        numbers(&sorted, len, attempt)?;
    }
    ControlFlow::Continue(())
}

/// All keys in SoundHash's events, in an order consistent with each event's own key order.
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

/// Returns how many bytes of the body were signed, or `None` if none of the lengths tried matches
/// the signature.
///
/// Tries every length up to 16 KiB, and beyond that only common buffer sizes.
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Attack: send a body whose numbers have many names, or whose many numbers share a long name.
    #[test]
    fn many_numbers_take_linear_time() {
        let many = |len: usize| {
            let members: Vec<_> = (0..len / 12).map(|i| format!("\"k{i}\":{i}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let long = |len: usize| {
            let name = "k".repeat(len / 2);
            format!("{{\"{name}\":[0{}]}}", ",0".repeat(len / 4))
        };
        let took = |body: String| {
            let json = Json::parse(body.as_bytes(), DEEPEST).unwrap();
            let start = Instant::now();
            let end = numbers(&json, body.len(), &mut |_, _, _| ControlFlow::Continue(()));
            assert!(end.is_continue());
            start.elapsed()
        };
        for body in [&many as &dyn Fn(usize) -> String, &long] {
            // On a busy machine, a measurement can take much longer than the work. Quadratic work
            // would take 16 times as long every time.
            let is_linear = |_| took(body(800_000)) < 8 * took(body(200_000));
            assert!((0..5).any(is_linear));
        }
    }
}
