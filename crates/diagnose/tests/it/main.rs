//! `diagnose` finds each common mistake, and its text never reveals a secret.

use std::{collections::BTreeMap, fs, io::Read, time::Instant};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use flate2::{Compression, read};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use soundhash_webhook::{EventKind, Secret, Sender, testing::sample};
use soundhash_webhook_diagnose::{
    Diagnosis,
    DiagnosisKind::{
        self, BodyUtf16, ByteOrderMark, Compressed, CurlyQuotes, EmptyBody, EncodedTwice,
        FormEncoded, LineEnd, MalformedSignature, MissingSignature, NewlinesRemoved, NoSecret,
        NumbersRewritten, OnlyDataSigned, PreviousSecret, Reserialized, Right, SecretBase64,
        SecretInvisible, SecretLabel, SecretPrefix, SecretQuotes, SecretUtf16, SecretWhitespace,
        SeveralSignatures, SignatureBase64, SignatureHexTwice, SignaturePrefix, SignatureQuotes,
        SignatureWhitespace, SortedKeys, SwappedArguments, TimestampSigned, Truncated, Unknown,
        WrongHash,
    },
    diagnose,
};

const BODY: &[u8] = br#"{"event":"video.processed","data":{"title":"Test Video"}}"#;

const KEY: &str = "whsec_c291bmRoYXNoLXRlc3Qta2V5Pz4_";

fn sign(key: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> String {
    Secret::new(key).sign(body.as_ref()).to_string()
}

fn kinds(diagnosis: &Diagnosis) -> Vec<DiagnosisKind> {
    diagnosis.kinds().collect()
}

/// Diagnoses with one secret, and expects a single mistake.
#[track_caller]
fn found(secret: impl AsRef<[u8]>, signature: &str, body: impl AsRef<[u8]>, kind: DiagnosisKind) {
    let diagnosis = diagnose(&[secret.as_ref()], signature, body);
    assert_eq!(kinds(&diagnosis), [kind], "{diagnosis}");
    assert_eq!(diagnosis.kind(), kind);
    assert_eq!(diagnosis.secret(), Some(0));
    assert!(!diagnosis.is_right());
}

/// Expects the same mistake for each of the two bodies, if the other one was signed.
#[track_caller]
fn found_either_way(kind: DiagnosisKind, one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) {
    found(KEY, &sign(KEY, &one), &other, kind);
    found(KEY, &sign(KEY, &other), &one, kind);
}

// ---- matching signatures

#[test]
fn a_right_signature_is_right_in_either_case() {
    for signature in [sign(KEY, BODY), sign(KEY, BODY).to_uppercase()] {
        let diagnosis = diagnose(&[KEY, "whsec_old"], &signature, BODY);
        assert!(diagnosis.is_right());
        assert_eq!(diagnosis.kind(), Right);
        assert_eq!(diagnosis.kinds().count(), 0);
        assert_eq!(diagnosis.secret(), Some(0));
        let text = diagnosis.to_string();
        assert!(text.starts_with("The signature matches this body under the first secret."));
        assert!(text.contains("other bytes arrive there"), "{text}");
    }
}

// ---- the secret

#[test]
fn mistakes_with_the_secret_at_either_side() {
    let stripped = KEY.trim_start_matches("whsec_").to_owned();
    let mut rows = vec![(SecretPrefix, stripped)];
    for space in ["\n", "\r\n", " ", "\t", "\n\n", "\u{a0}", "\u{feff}"] {
        rows.push((SecretWhitespace, format!("{KEY}{space}")));
        rows.push((SecretWhitespace, format!("{space}{KEY}")));
    }
    for quotes in ["\"\"", "''", "``", "“”", "‘’"] {
        let (start, end) = quotes.split_at(quotes.len() / 2);
        rows.push((SecretQuotes, format!("{start}{KEY}{end}")));
    }
    rows.push((SecretInvisible, format!("{KEY}\u{200b}")));
    rows.push((SecretInvisible, format!("\u{200b}{KEY}")));
    for label in ["v1,", "SOUNDHASH_WEBHOOK_SECRET="] {
        rows.push((SecretLabel, format!("{label}{KEY}")));
    }
    for (kind, other) in rows {
        found(&other, &sign(KEY, BODY), BODY, kind);
        found(KEY, &sign(&other, BODY), BODY, kind);
    }
    // These cannot be guessed from the right secret.
    let (start, end) = KEY.split_at(9);
    for (kind, given) in [
        (SecretWhitespace, format!("  {KEY}\r\n")),
        (SecretInvisible, format!("{start}\u{200b}{end}")),
        (
            SecretInvisible,
            format!("\u{2060}{start}\u{ad}{end}\u{202e}"),
        ),
        (SecretLabel, format!("SECRET={KEY}\n")),
        (SecretLabel, format!("export OTHER_NAME=\"{KEY}\"")),
        (SecretLabel, format!("webhook.secret: '{KEY}'")),
        (SecretLabel, format!("v1, {KEY}")),
    ] {
        found(&given, &sign(KEY, BODY), BODY, kind);
    }
}

/// `echo` in PowerShell writes UTF-16, and `Encoding.Unicode` in .NET is UTF-16.
#[test]
fn the_secret_in_utf_16_at_either_side() {
    for encoded in utf16(KEY) {
        found(&encoded, &sign(KEY, BODY), BODY, SecretUtf16);
        found(KEY, &sign(&encoded, BODY), BODY, SecretUtf16);
    }
    for file in utf16(&format!("{KEY}\r\n")) {
        found(&file, &sign(KEY, BODY), BODY, SecretUtf16);
    }
}

#[test]
fn the_secret_decoded_from_base64_at_either_side() {
    // These bytes differ between the two alphabets of base64, and need padding.
    let bytes = b"\xfb\xff\xfe soundhash\xff\xfe";
    for alphabet in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let text = alphabet.encode(bytes);
        for secret in [text.clone(), format!("whsec_{text}")] {
            let kind = SecretBase64;
            found(&secret, &sign(bytes, BODY), BODY, kind);
            found(bytes, &sign(&secret, BODY), BODY, kind);
        }
    }
}

/// Checks all mistakes that are found together, and the secret that explains the signature.
#[track_caller]
fn finds(
    secrets: &[&str],
    signature: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
    expected: &[DiagnosisKind],
    secret: Option<usize>,
) -> String {
    let diagnosis = diagnose(secrets, signature, body);
    assert_eq!(kinds(&diagnosis), expected, "{diagnosis}");
    assert_eq!(diagnosis.secret(), secret);
    diagnosis.to_string()
}

#[test]
fn another_secret_than_the_first_or_none() {
    let old = sign("whsec_old", BODY);
    let given = ["whsec_new", "whsec_old"];
    let text = finds(&given, &old, BODY, &[PreviousSecret], Some(1));
    assert!(text.contains("previous_secret"), "{text}");
    let last = "(Secret 2 of those given matches.)";
    assert!(text.ends_with(last), "{text}");
    let (given, expected) = (
        ["whsec_new", "\"whsec_old\""],
        [PreviousSecret, SecretQuotes],
    );
    finds(&given, &old, BODY, &expected, Some(1));
    for none in [&[][..], &[""], &["", ""]] {
        finds(none, &old, BODY, &[NoSecret], None);
    }
    // A secret that consists only of whitespace is still a secret.
    finds(&["\n"], &old, BODY, &[Unknown], None);
}

// ---- the method

fn mac<M: Mac + KeyInit>(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> String {
    let mac = <M as KeyInit>::new_from_slice(key.as_ref()).unwrap();
    hex::encode(mac.chain_update(message).finalize().into_bytes())
}

#[test]
fn another_hash_or_no_hmac_or_swapped_arguments() {
    let (sha1, sha512) = (mac::<Hmac<Sha1>>(KEY, BODY), mac::<Hmac<Sha512>>(KEY, BODY));
    let plain = |parts: [&[u8]; 2]| hex::encode(Sha256::digest(parts.concat()));
    let key = KEY.as_bytes();
    let without_key = [plain([BODY, b""]), plain([key, BODY]), plain([BODY, key])];
    for signature in [sha1.clone(), sha512.clone()]
        .into_iter()
        .chain(without_key)
    {
        found(KEY, &signature, BODY, WrongHash);
        let text = diagnose(&[KEY], &signature, BODY).to_string();
        assert!(text.contains("use HMAC with SHA-256"), "{text}");
    }
    found(KEY, &mac::<Hmac<Sha256>>(BODY, KEY), BODY, SwappedArguments);
    // The signature as GitHub writes it, and in base64.
    let github = format!("sha1={sha1}");
    finds(&[KEY], github, BODY, &[SignaturePrefix, WrongHash], Some(0));
    let base64 = STANDARD.encode(hex::decode(&sha512).unwrap());
    let expected = [SignatureBase64, PreviousSecret, WrongHash];
    finds(&["other", KEY], base64, BODY, &expected, Some(1));
}

// ---- the header

#[test]
fn a_signature_in_base64_or_with_something_around_it() {
    let (right, wrong) = (sign(KEY, BODY), sign("other", BODY));
    let bytes = hex::decode(&right).unwrap();
    for (value, expected) in [
        (hex::encode(&right), &[SignatureHexTwice][..]),
        (STANDARD.encode(&right), &[SignatureBase64]),
        (STANDARD.encode(&bytes), &[SignatureBase64]),
        (STANDARD_NO_PAD.encode(&bytes), &[SignatureBase64]),
        (URL_SAFE.encode(&bytes), &[SignatureBase64]),
        (URL_SAFE_NO_PAD.encode(&bytes), &[SignatureBase64]),
        (format!("\"{right}\""), &[SignatureQuotes]),
        (format!("'{right}'"), &[SignatureQuotes]),
        (format!("`{right}`"), &[SignatureQuotes]),
        (format!("“{right}”"), &[SignatureQuotes]),
        (
            format!("v1=\"{right}\""),
            &[SignatureQuotes, SignaturePrefix],
        ),
        (format!("sha256={right}"), &[SignaturePrefix]),
        (format!("v1={right}"), &[SignaturePrefix]),
        (format!("v1,{right}"), &[SignaturePrefix]),
        (format!("t=1795424132,v1={right}"), &[SignaturePrefix]),
        (format!("sha256= {right}"), &[SignaturePrefix]),
        (format!("X-Webhook-Signature: {right}"), &[SignaturePrefix]),
        (format!("{wrong}, {right}"), &[SeveralSignatures]),
        (format!("v1={right},v0={wrong}"), &[SeveralSignatures]),
        (format!("{right} {right}"), &[SeveralSignatures]),
        (format!(" {right}"), &[SignatureWhitespace]),
        (format!("{right}\n"), &[SignatureWhitespace]),
        (format!("\u{feff}{right}\u{a0}"), &[SignatureWhitespace]),
    ] {
        finds(&[KEY], value, BODY, expected, Some(0));
    }
}

#[test]
fn missing_and_malformed_signatures() {
    for (value, kind) in [
        ("", MissingSignature),
        (" \t", MissingSignature),
        ("none", MalformedSignature),
        ("sha256=", MalformedSignature),
        ("0123456789abcdef", MalformedSignature),
        (&sign(KEY, BODY)[..63], MalformedSignature),
        ("=,=;= =", MalformedSignature),
        // The digits have the length of a SHA-1, but do not match it.
        (&"ab".repeat(20), MalformedSignature),
    ] {
        finds(&[KEY], value, BODY, &[kind], None);
    }
    finds(&[KEY], b"\xff\xfe", BODY, &[MalformedSignature], None);
}

// ---- the body

#[test]
fn a_body_that_was_rewritten_on_the_way() {
    let text = r#"{"title": "A \"song\" + more: 100%", "n": 1}"#;
    let twice = serde_json::to_string(text).unwrap();
    let form = "%7B%22title%22%3A+%22A+%5C%22song%5C%22+%2B+more%3A+100%25%22%2C+%22n%22%3A+1%7D";
    let payload = format!("payload={form}");
    let name = format!("{form}=");
    let marked = format!("\u{feff}{text}");
    let keys = r#"{"z":"x","a":[{"c":2,"b":1.0}]}"#;
    let before_go =
        r#"{"event": "\u00fc", "data": {"limit": 9, "percentage": 85.0, "reset_at": "<"}}"#;
    let after_go =
        "{\"data\":{\"limit\":9,\"percentage\":85,\"reset_at\":\"\\u003c\"},\"event\":\"ü\"}";
    for (kind, one, other) in [
        (ByteOrderMark, &marked[..], text),
        (EncodedTwice, text, &twice),
        (FormEncoded, text, &payload),
        (FormEncoded, text, form),
    ] {
        found_either_way(kind, one, other);
    }
    let half = r#"{"t": "\ud83c", "a": 1}"#;
    let node = r#"{"c": 1.0, "n": [1, 2]}"#;
    let gson = r#"{"x": 7.0, "n": -2}"#;
    for (kind, signed, received) in [
        // The output of `qs.stringify` for a body that was parsed as a form.
        (FormEncoded, text, &name[..]),
        (CurlyQuotes, r#"{"title": "it's"}"#, "{“title”: “it’s”}"),
        // Half a surrogate pair, which Python writes and Rust cannot represent.
        (Reserialized, half, r#"{"t":"\ud83c","a":1}"#),
        (SortedKeys, r#"{"a": [{"b": 1.0, "c": 2}], "z": "x"}"#, keys),
        (NumbersRewritten, node, r#"{"c":1,"n":[1,2]}"#),
        (NumbersRewritten, gson, r#"{"x":7.0,"n":-2.0}"#),
        // Go sorts the keys, too.
        (NumbersRewritten, before_go, after_go),
    ] {
        found(KEY, &sign(KEY, signed), received, kind);
    }
}

/// The output of node's `JSON.stringify(JSON.parse(body))` for a delivery of the portal.
#[test]
fn numbers_of_a_real_delivery_written_anew() {
    let capture = include_str!("../../../tests/captures/portal-quota.warning.http");
    let (_, body) = capture.split_once("\r\n\r\n").unwrap();
    let received = body.replace(['\n', ' '], "").replace("85.0", "85");
    found(KEY, &sign(KEY, body), &received, NumbersRewritten);
}

#[test]
fn a_body_serialized_again_by_another_library() {
    // The order of the keys, the numbers and the escapes are those of Python's `json.dumps`.
    let compact = r#"{"z":"M\u00fcller \ud83c\udfb5\u007f","a":[1.0,-2e5,{}, []],"n":null,"s":"a\\\"b, c: d"}"#;
    let compact = compact.replace("{}, []", "{},[]");
    let spaced = r#"{"z": "M\u00fcller \ud83c\udfb5\u007f", "a": [1.0, -2e5, {}, []], "n": null, "s": "a\\\"b, c: d"}"#;
    let pretty = "{\n  \"z\": \"M\\u00fcller \\ud83c\\udfb5\\u007f\",\n  \"a\": [\n    1.0,\n    \
                  -2e5,\n    {},\n    []\n  ],\n  \"n\": null,\n  \"s\": \"a\\\\\\\"b, c: d\"\n}";
    let wide = pretty.replace("  ", "    ");
    let javascript = compact
        .replace("\\u00fc", "ü")
        .replace("\\ud83c\\udfb5", "🎵");
    let javascript = javascript.replace("\\u007f", "\u{7f}");
    let all = [&compact, spaced, pretty, &wide, &javascript];
    for signed in all {
        for received in all {
            if signed != received {
                found(KEY, &sign(KEY, signed), received, Reserialized);
            }
        }
    }
    // The output of `serde_json` itself agrees with the layout made from the text.
    let ours = serde_json::to_string(&sample(EventKind::MatchFound, Sender::Portal)).unwrap();
    let value: Value = serde_json::from_str(&ours).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    found(KEY, &sign(KEY, &pretty), &ours, Reserialized);
}

#[test]
fn a_line_end_added_or_removed() {
    for end in ["\n", "\r\n", "\n\n", "\r\n\r\n"] {
        found_either_way(LineEnd, "not JSON", format!("not JSON{end}"));
    }
    found_either_way(LineEnd, "{\n  \"a\": 1\n}", "{\r\n  \"a\": 1\r\n}");
}

/// `curl -d @file` removes the line breaks of a file.
#[test]
fn line_breaks_removed_at_either_side() {
    let event = sample(EventKind::MatchFound, Sender::Portal);
    let pretty = serde_json::to_string_pretty(&event).unwrap();
    for file in [
        pretty.clone(),
        format!("{pretty}\n"),
        pretty.replace("  ", "\t"),
        format!("{pretty}\n").replace('\n', "\r\n"),
    ] {
        found_either_way(NewlinesRemoved, file.replace(['\r', '\n'], ""), &file);
    }
    let text = diagnose(&[KEY], sign(KEY, "{\n  \"a\": 1\n}"), "{  \"a\": 1}").to_string();
    assert!(text.contains("--data-binary"), "{text}");
}

/// Sorts the keys, which `serde_json` does not do if another package turns `preserve_order` on.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.into_iter().collect();
            let members = sorted.into_iter();
            members
                .map(|(key, value)| (key, self::sorted(value)))
                .collect()
        }
        scalar => scalar,
    }
}

/// `serde_json` sorts the keys of a `Value`, and so does a middleware that serializes JSON again.
#[test]
fn keys_of_a_real_delivery_sorted_on_the_way() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/captures");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let capture = fs::read_to_string(file.unwrap().path()).unwrap();
        let (_, body) = capture.split_once("\r\n\r\n").unwrap();
        let sorted = sorted(serde_json::from_str(body).unwrap()).to_string();
        found(KEY, &sign(KEY, body), &sorted, SortedKeys);
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn the_body_in_utf_16_at_either_side() {
    let text = r#"{"title": "Título 🎵"}"#;
    for encoded in utf16(text) {
        found_either_way(BodyUtf16, text, encoded);
    }
    for file in utf16(&format!("{text}\r\n")) {
        found(KEY, &sign(KEY, text), &file, BodyUtf16);
    }
}

fn utf16(text: &str) -> Vec<Vec<u8>> {
    let marked = format!("\u{feff}{text}");
    let mut encoded = Vec::new();
    for text in [text, &marked] {
        encoded.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        encoded.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    encoded
}

#[test]
fn a_compressed_body_at_either_side() {
    let level = Compression::default();
    let all = |mut reader: Box<dyn Read>| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    };
    for compressed in [
        all(Box::new(read::GzEncoder::new(BODY, level))),
        all(Box::new(read::ZlibEncoder::new(BODY, level))),
        all(Box::new(read::DeflateEncoder::new(BODY, level))),
    ] {
        found_either_way(Compressed, BODY, compressed);
    }
    // From Python: `gzip.compress(b"{}", mtime=0)`.
    let python = hex::decode("1f8b08000000000002ffabae050043bfa6a302000000").unwrap();
    found(KEY, &sign(KEY, "{}"), &python, Compressed);
}

/// Attack: send a small body that fills the memory when it is decompressed.
#[test]
fn a_decompression_bomb_is_given_up() {
    let zeros = vec![0; 8 << 20];
    let mut bomb = Vec::new();
    let mut encoder = read::GzEncoder::new(&zeros[..], Compression::best());
    encoder.read_to_end(&mut bomb).unwrap();
    finds(&[KEY], sign(KEY, &zeros), &bomb, &[Unknown], None);
}

#[test]
fn a_timestamp_before_the_body() {
    let signed = |timestamp: &str| sign(KEY, [timestamp.as_bytes(), b".", BODY].concat());
    let stripe = format!("t=1795424132,v1={}", signed("1795424132"));
    let expected = [SignaturePrefix, TimestampSigned];
    finds(&[KEY], stripe, BODY, &expected, Some(0));

    // The time of the event, as text and in seconds.
    for (sender, timestamp) in [
        (Sender::Portal, "2026-11-23T08:55:32.108009+00:00"),
        (Sender::Portal, "1795424132"),
        (Sender::Dispatcher, "2026-11-23T08:56:12.681555+00:00Z"),
        (Sender::Dispatcher, "1795424172"),
    ] {
        let body = sender.to_bytes(&sample(EventKind::MatchFound, sender));
        let signed = [timestamp.as_bytes(), b".", &body].concat();
        found(KEY, &sign(KEY, signed), &body, TimestampSigned);
    }
}

#[test]
fn only_the_data_signed() {
    let body = r#"{"event": "x", "data": {"b": 1.0, "a": ["\u00fc"]}}"#;
    for data in [
        r#"{"b": 1.0, "a": ["\u00fc"]}"#,
        r#"{"b":1.0,"a":["ü"]}"#,
        "{\n  \"b\": 1.0,\n  \"a\": [\n    \"ü\"\n  ]\n}",
    ] {
        found(KEY, &sign(KEY, data), body, OnlyDataSigned);
    }
}

#[test]
fn a_body_that_was_truncated_before_it_was_signed() {
    let short = Sender::Portal.to_bytes(&sample(EventKind::MatchFound, Sender::Portal));
    let long = vec![b'x'; 128 * 1024];
    for (body, len) in [
        (&short, 1),
        (&short, 500),
        (&short, short.len() - 1),
        (&long, 16_000),
        (&long, 65_536),
        (&long, 100_000),
        (&long, 1024 * 127),
    ] {
        let signature = sign(KEY, &body[..len]);
        found(KEY, &signature, body, Truncated);
        let text = diagnose(&[KEY], &signature, body).to_string();
        let what = format!("covers only the first {len} of {} bytes", body.len());
        assert!(text.contains(&what), "{text}");
    }
}

#[test]
fn a_body_that_was_truncated_on_the_way() {
    let body = Sender::Portal.to_bytes(&sample(EventKind::MatchFound, Sender::Portal));
    let text = finds(&[KEY], sign(KEY, &body), &body[..300], &[Truncated], None);
    let what = "in the middle of its JSON, after 300 bytes";
    assert!(text.contains(what), "{text}");
}

#[test]
fn an_empty_body_at_either_side() {
    found(KEY, &sign(KEY, ""), BODY, EmptyBody);
    finds(&[KEY], sign(KEY, BODY), "", &[EmptyBody], None);
    assert!(diagnose(&[KEY], sign(KEY, ""), "").is_right());
}

// ---- several mistakes at once, and no mistake

#[test]
fn all_mistakes_that_occur_together_are_reported() {
    let spaced = r#"{"event": "video.processed", "data": {}}"#;
    let compact = r#"{"event":"video.processed","data":{}}"#;
    let signature = STANDARD.encode(hex::decode(sign("whsec_old\n", spaced)).unwrap());
    let expected = [
        SignaturePrefix,
        SignatureBase64,
        PreviousSecret,
        SecretWhitespace,
        Reserialized,
    ];
    let signature = format!("sha256={signature}");
    let given = ["whsec_new", "whsec_old"];
    let text = finds(&given, signature, compact, &expected, Some(1));
    assert_eq!(text.lines().count(), 6);
}

#[test]
fn an_unexplained_signature_is_unknown() {
    let other = sign("another endpoint's", BODY);
    finds(&[KEY], &other, BODY, &[Unknown], None);
    // A mistake in the header exists under every secret.
    let prefixed = format!("sha256={other}");
    finds(&[KEY], prefixed, BODY, &[SignaturePrefix, Unknown], None);
}

/// Attack: fill the memory with indentation.
#[test]
fn a_deeply_nested_body_is_not_laid_out() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    finds(&[KEY], sign("other", "x"), deep, &[Unknown], None);
}

/// Attack: read the secret, or a signature to forge with, from a diagnosis that was pasted
/// somewhere.
#[test]
fn the_text_reveals_neither_a_secret_nor_a_signature() {
    let secret = "whsec_0nly-f0r-us";
    let spaced = r#"{"a": "hidden", "b": 1}"#;
    let compact = r#"{"a":"hidden","b":1}"#;
    for signed in [spaced, compact, ""] {
        let right = sign(secret, compact);
        let made = sign(secret, signed);
        for key in [secret.to_owned(), format!("{secret}\n"), "other".to_owned()] {
            let diagnosis = diagnose(&[key], &made, compact);
            for shown in [diagnosis.to_string(), format!("{diagnosis:?}")] {
                for hidden in ["0nly", "hidden", &right[..8], &made[..8]] {
                    assert!(!shown.contains(hidden), "{shown}");
                }
            }
        }
    }
}

/// A large body is not signed thousands of times, as it would be if every mistake with the secret
/// were combined with every mistake with the body. The limit is 2,500 times the measured time of
/// one signature, so that it does not depend on the speed of the machine.
#[test]
fn a_large_body_is_tried_with_a_bounded_number_of_mistakes() {
    let values = "{\"title\": \"M\\u00fcller\", \"n\": [1, 2.0, {}]}, ".repeat(6_000);
    let body = format!("{{\"event\": \"x\", \"data\": [{values}null]}}");
    assert!(body.len() > 4 * 64 * 1024);
    let start = Instant::now();
    for _ in 0..20 {
        sign(KEY, &body);
    }
    let limit = start.elapsed() * 2_500 / 20;
    let start = Instant::now();
    let diagnosis = diagnose(&[KEY], sign("other", &body), &body);
    let elapsed = start.elapsed();
    assert_eq!(kinds(&diagnosis), [Unknown]);
    println!("{elapsed:?} of {limit:?}");
    assert!(elapsed < limit, "{elapsed:?} of {limit:?}");
}

/// Any JSON object, with its keys in any order.
fn event() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|it| it.to_string()),
        any::<String>().prop_map(|it| Value::from(it).to_string()),
    ];
    let member = ("[a-z]{1,9}", scalar).prop_map(|(key, value)| format!("\"{key}\": {value}"));
    proptest::collection::vec(member, 0..6)
        .prop_map(|it| format!("{{\"event\": \"x\", \"data\": {{{}}}}}", it.join(", ")))
}

proptest! {
    /// A mistake that was not made is not found.
    #[test]
    fn a_right_signature_is_never_diagnosed(key in "\\PC{1,40}", body in prop_oneof![
        event().prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..99),
    ]) {
        let diagnosis = diagnose(&[&key, "whsec_old"], sign(&key, &body), &body);
        prop_assert!(diagnosis.is_right(), "{}", diagnosis);
        prop_assert_eq!(diagnosis.secret(), Some(0));
    }

}

proptest! {
    // Each case tries every mistake.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_random_signature_is_explained_by_nothing(
        key in "\\PC{1,40}",
        body in event(),
        bytes in prop_oneof![Just(20), Just(32), Just(64)]
            .prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len)),
    ) {
        let diagnosis = diagnose(&[&key], hex::encode(&bytes), &body);
        let expected = match bytes.len() {
            32 => Unknown,
            _ => MalformedSignature,
        };
        prop_assert_eq!(kinds(&diagnosis), [expected]);
        prop_assert_eq!(diagnosis.secret(), None);
    }

    #[test]
    fn no_input_panics(
        secret: Vec<u8>,
        signature in "[0-9a-f=, ]{0,70}",
        body in "[\\[\\]{}\":,\\\\ \r\n0-9é]{0,40}",
    ) {
        let diagnosis = diagnose(&[secret], signature, body);
        prop_assert!(!diagnosis.to_string().is_empty());
    }
}
