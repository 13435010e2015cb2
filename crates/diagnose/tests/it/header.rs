//! Tests missing, malformed and decorated signatures.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use soundhash_webhook_diagnose::DiagnosisKind::{
    MalformedSignature, MissingSignature, SeveralSignatures, SignatureBase64, SignatureHexTwice,
    SignaturePrefix, SignatureQuotes, SignatureWhitespace,
};

use super::{BODY, KEY, finds, sign};

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
        // This value has as many digits as a SHA-1 hash, but does not match the body's hash.
        (&"ab".repeat(20), MalformedSignature),
    ] {
        finds(&[KEY], value, BODY, &[kind], None);
    }
    finds(&[KEY], b"\xff\xfe", BODY, &[MalformedSignature], None);
}
