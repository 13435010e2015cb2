//! Tests mistakes with the secret.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use soundhash_webhook_diagnose::DiagnosisKind::{
    NoSecret, PreviousSecret, SecretBase64, SecretInvisible, SecretLabel, SecretPrefix,
    SecretQuotes, SecretUtf16, SecretWhitespace, Unknown,
};

use super::{BODY, KEY, finds, found, sign, utf16};

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
    // These secrets cannot be derived from the right one, so the mistake is found only if the given
    // secret has it.
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
    // These bytes need padding, and the two base64 alphabets encode them differently.
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
