//! Tests bodies that were changed in transit, or whose diagnosis would take a lot of memory or
//! time.

use std::{io::Read, time::Instant};

use flate2::{Compression, read};
use soundhash_webhook::{EventKind, Sender, testing::sample};
use soundhash_webhook_diagnose::{
    DiagnosisKind::{
        BodyUtf16, ByteOrderMark, Compressed, CurlyQuotes, EmptyBody, EncodedTwice, FormEncoded,
        LineEnd, NewlinesRemoved, NumbersRewritten, Reserialized, SortedKeys, Truncated, Unknown,
    },
    diagnose,
};

use super::{BODY, KEY, finds, found, found_either_way, kinds, sign, utf16};

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
        // An unpaired surrogate, which Python can write but a Rust string cannot represent.
        (Reserialized, half, r#"{"t":"\ud83c","a":1}"#),
        (SortedKeys, r#"{"a": [{"b": 1.0, "c": 2}], "z": "x"}"#, keys),
        (NumbersRewritten, node, r#"{"c":1,"n":[1,2]}"#),
        (NumbersRewritten, gson, r#"{"x":7.0,"n":-2.0}"#),
        // Go rewrites the numbers and also sorts the keys.
        (NumbersRewritten, before_go, after_go),
    ] {
        found(KEY, &sign(KEY, signed), received, kind);
    }
}

#[test]
fn a_line_end_added_or_removed() {
    for end in ["\n", "\r\n", "\n\n", "\r\n\r\n"] {
        found_either_way(LineEnd, "not JSON", format!("not JSON{end}"));
    }
    found_either_way(LineEnd, "{\n  \"a\": 1\n}", "{\r\n  \"a\": 1\r\n}");
}

/// `curl -d @file` removes the line breaks from a file.
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
    // The output of Python's `gzip.compress(b"{}", mtime=0)`.
    let python = hex::decode("1f8b08000000000002ffabae050043bfa6a302000000").unwrap();
    found(KEY, &sign(KEY, "{}"), &python, Compressed);
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

/// Attack: send a small body that would fill the memory when decompressed.
#[test]
fn a_decompression_bomb_is_given_up() {
    let zeros = vec![0; 8 << 20];
    let mut bomb = Vec::new();
    let mut encoder = read::GzEncoder::new(&zeros[..], Compression::best());
    encoder.read_to_end(&mut bomb).unwrap();
    finds(&[KEY], sign(KEY, &zeros), &bomb, &[Unknown], None);
}

/// Attack: send a nested body that would fill the memory with indentation.
#[test]
fn a_deeply_nested_body_is_not_laid_out() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    finds(&[KEY], sign("other", "x"), deep, &[Unknown], None);
}

/// Attack: overflow the stack.
#[test]
fn a_deeply_nested_body_without_an_end_is_cut_off() {
    let deep = r#"{"a":"#.repeat(200_000);
    finds(&[KEY], sign("other", "x"), deep, &[Truncated], None);
    let mixed = r#"{"a":["#.repeat(200_000);
    finds(&[KEY], sign("other", "x"), mixed, &[Truncated], None);
}

/// A large body is not signed thousands of times, as it would be if every mistake with the secret
/// were combined with every mistake with the body. The limit is 1,500 times the measured time of
/// one signature, so that it does not depend on the speed of the machine. Because that speed can
/// change between the two measurements, one of five attempts has to stay below the limit.
#[test]
fn a_large_body_is_tried_with_a_bounded_number_of_mistakes() {
    let values = "{\"title\": \"M\\u00fcller\", \"n\": [1, 2.0, {}]}, ".repeat(6_000);
    let body = format!("{{\"event\": \"x\", \"data\": [{values}null]}}");
    assert!(body.len() > 4 * 64 * 1024);
    let signing = || {
        let start = Instant::now();
        sign(KEY, &body);
        start.elapsed()
    };
    let is_bounded = || {
        let limit = (0..20).map(|_| signing()).min().unwrap() * 1_500;
        let start = Instant::now();
        let diagnosis = diagnose(&[KEY], sign("other", &body), &body);
        let elapsed = start.elapsed();
        assert_eq!(kinds(&diagnosis), [Unknown]);
        println!("{elapsed:?} of {limit:?}");
        elapsed < limit
    };
    assert!((0..5).any(|_| is_bounded()));
}
