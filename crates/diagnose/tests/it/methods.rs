//! Tests other signing methods, and other signed bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use soundhash_webhook::{EventKind, Sender, testing::sample};
use soundhash_webhook_diagnose::{
    DiagnosisKind::{
        OnlyDataSigned, PreviousSecret, SignatureBase64, SignaturePrefix, SwappedArguments,
        TimestampSigned, WrongHash,
    },
    diagnose,
};

use super::{BODY, KEY, finds, found, sign};

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
    // A signature in GitHub's format, and one in base64.
    let github = format!("sha1={sha1}");
    finds(&[KEY], github, BODY, &[SignaturePrefix, WrongHash], Some(0));
    let base64 = STANDARD.encode(hex::decode(&sha512).unwrap());
    let expected = [SignatureBase64, PreviousSecret, WrongHash];
    finds(&["other", KEY], base64, BODY, &expected, Some(1));
}

#[test]
fn a_timestamp_before_the_body() {
    let signed = |timestamp: &str| sign(KEY, [timestamp.as_bytes(), b".", BODY].concat());
    let stripe = format!("t=1795424132,v1={}", signed("1795424132"));
    let expected = [SignaturePrefix, TimestampSigned];
    finds(&[KEY], stripe, BODY, &expected, Some(0));

    // The event's timestamp, as text and as Unix time in seconds.
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
