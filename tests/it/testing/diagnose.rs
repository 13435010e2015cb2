//! Each usual mistake is made, and has to be found; nothing told may give a secret away.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;
use serde_json::Value;
use soundhash_webhook::{
    EventKind, Secret,
    testing::{Diagnosis, DiagnosisKind, Sender, diagnose, sample},
};

use crate::{process::example, support::BODY};

const KEY: &str = "whsec_c291bmRoYXNoLXRlc3Qta2V5Pz4_";

fn sign(key: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> String {
    Secret::new(key).sign(body.as_ref()).to_string()
}

fn kinds(diagnosis: &Diagnosis) -> Vec<DiagnosisKind> {
    diagnosis.kinds().collect()
}

/// One secret here, and what the signer did.
#[track_caller]
fn found(secret: impl AsRef<[u8]>, signature: &str, body: impl AsRef<[u8]>, kind: DiagnosisKind) {
    let diagnosis = diagnose(&[secret.as_ref()], signature, body);
    assert_eq!(kinds(&diagnosis), [kind], "{diagnosis}");
    assert_eq!(diagnosis.kind(), kind);
    assert_eq!(diagnosis.secret(), Some(0));
    assert!(!diagnosis.is_right());
}

// ---- what is right

#[test]
fn a_right_signature_is_right_in_either_case() {
    for signature in [sign(KEY, BODY), sign(KEY, BODY).to_uppercase()] {
        let diagnosis = diagnose(&[KEY, "whsec_old"], &signature, BODY);
        assert!(diagnosis.is_right());
        assert_eq!(diagnosis.kind(), DiagnosisKind::Right);
        assert_eq!(diagnosis.kinds().count(), 0);
        assert_eq!(diagnosis.secret(), Some(0));
        assert_eq!(
            diagnosis.to_string(),
            "The signature is that of this body under the first secret."
        );
    }
}

#[test]
fn an_empty_body_that_was_signed_is_right() {
    assert!(diagnose(&[KEY], sign(KEY, ""), "").is_right());
}

// ---- the secret

#[test]
fn white_space_at_either_side_of_the_secret() {
    for space in ["\n", "\r\n", " ", "\t"] {
        let behind = format!("{KEY}{space}");
        let before = format!("{space}{KEY}");
        for padded in [behind, before] {
            let kind = DiagnosisKind::SecretWhitespace;
            found(&padded, &sign(KEY, BODY), BODY, kind);
            found(KEY, &sign(&padded, BODY), BODY, kind);
        }
    }
    let around = format!("  {KEY}\r\n");
    found(
        &around,
        &sign(KEY, BODY),
        BODY,
        DiagnosisKind::SecretWhitespace,
    );
}

#[test]
fn the_prefix_stripped_at_either_side() {
    let stripped = KEY.trim_start_matches("whsec_");
    let kind = DiagnosisKind::SecretPrefix;
    found(KEY, &sign(stripped, BODY), BODY, kind);
    found(stripped, &sign(KEY, BODY), BODY, kind);
}

#[test]
fn the_secret_decoded_from_base64_at_either_side() {
    // Differs between the two alphabets, and needs padding.
    let bytes = b"\xfb\xff\xfe soundhash\xff\xfe";
    for alphabet in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let text = alphabet.encode(bytes);
        for secret in [text.clone(), format!("whsec_{text}")] {
            let kind = DiagnosisKind::SecretBase64;
            found(&secret, &sign(bytes, BODY), BODY, kind);
            found(bytes, &sign(&secret, BODY), BODY, kind);
        }
    }
}

#[test]
fn another_secret_than_the_first() {
    let diagnosis = diagnose(&["whsec_new", "whsec_old"], sign("whsec_old", BODY), BODY);
    assert_eq!(kinds(&diagnosis), [DiagnosisKind::PreviousSecret]);
    assert_eq!(diagnosis.secret(), Some(1));
    let told = diagnosis.to_string();
    assert!(told.contains("previous_secret"), "{told}");
    assert!(told.ends_with("(It is secret 2 of those given.)"), "{told}");
}

#[test]
fn no_secret_to_check_with() {
    let signature = sign(KEY, BODY);
    for none in [&[][..], &[""], &["", ""]] {
        let diagnosis = diagnose(none, &signature, BODY);
        assert_eq!(kinds(&diagnosis), [DiagnosisKind::NoSecret]);
        assert_eq!(diagnosis.secret(), None);
    }
    // White space alone is one, if a bad one.
    let diagnosis = diagnose(&["\n"], &signature, BODY);
    assert_eq!(kinds(&diagnosis), [DiagnosisKind::Unknown]);
}

// ---- the header

#[test]
fn a_signature_in_base64() {
    let digits = sign(KEY, BODY);
    let bytes = hex::decode(&digits).unwrap();
    for text in [
        STANDARD.encode(&bytes),
        STANDARD_NO_PAD.encode(&bytes),
        URL_SAFE.encode(&bytes),
        URL_SAFE_NO_PAD.encode(&bytes),
        STANDARD.encode(&digits),
    ] {
        found(KEY, &text, BODY, DiagnosisKind::SignatureBase64);
    }
}

#[test]
fn something_beside_the_signature() {
    let right = sign(KEY, BODY);
    for value in [
        format!("sha256={right}"),
        format!("v1={right}"),
        format!("v1,{right}"),
        format!("t=1795424132,v1={right}"),
        format!("sha256= {right}"),
        format!("X-Webhook-Signature: {right}"),
    ] {
        found(KEY, &value, BODY, DiagnosisKind::SignaturePrefix);
    }
}

#[test]
fn several_signatures() {
    let (right, wrong) = (sign(KEY, BODY), sign("other", BODY));
    for value in [
        format!("{wrong}, {right}"),
        format!("v1={right},v0={wrong}"),
        format!("{right} {right}"),
    ] {
        found(KEY, &value, BODY, DiagnosisKind::SeveralSignatures);
    }
}

#[test]
fn white_space_around_the_signature() {
    for value in [
        format!(" {}", sign(KEY, BODY)),
        format!("{}\n", sign(KEY, BODY)),
    ] {
        found(KEY, &value, BODY, DiagnosisKind::SignatureWhitespace);
    }
}

#[test]
fn no_signature_and_what_is_none() {
    for (value, kind) in [
        ("", DiagnosisKind::MissingSignature),
        (" \t", DiagnosisKind::MissingSignature),
        ("none", DiagnosisKind::MalformedSignature),
        ("sha256=", DiagnosisKind::MalformedSignature),
        ("0123456789abcdef", DiagnosisKind::MalformedSignature),
        (&sign(KEY, BODY)[..63], DiagnosisKind::MalformedSignature),
        ("=,=;= =", DiagnosisKind::MalformedSignature),
    ] {
        let diagnosis = diagnose(&[KEY], value, BODY);
        assert_eq!(kinds(&diagnosis), [kind], "{value}");
        assert_eq!(diagnosis.secret(), None);
    }
    let diagnosis = diagnose(&[KEY], b"\xff\xfe", BODY);
    assert_eq!(diagnosis.kind(), DiagnosisKind::MalformedSignature);
}

// ---- the body

#[test]
fn a_body_written_anew_by_another_library() {
    // Order, numbers and escapes as Python writes them.
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
                let signature = sign(KEY, signed);
                found(KEY, &signature, received, DiagnosisKind::Reserialized);
            }
        }
    }
    // What `serde_json` itself makes of it agrees with the layout made of the text.
    let ours = serde_json::to_string(&sample(EventKind::MatchFound, Sender::Portal)).unwrap();
    let value: Value = serde_json::from_str(&ours).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    found(KEY, &sign(KEY, &pretty), &ours, DiagnosisKind::Reserialized);
}

/// Python writes it, and no Rust string can hold it.
#[test]
fn half_a_surrogate_pair_is_kept() {
    let signed = r#"{"title": "\ud83c", "a": 1}"#;
    let received = r#"{"title":"\ud83c","a":1}"#;
    found(
        KEY,
        &sign(KEY, signed),
        received,
        DiagnosisKind::Reserialized,
    );
}

#[test]
fn both_senders_layouts_are_told_apart_from_the_compact_one() {
    for envelope in [Sender::Portal, Sender::Dispatcher] {
        for &kind in EventKind::ALL {
            let event = sample(kind, envelope);
            let signature = sign(KEY, envelope.to_bytes(&event));
            let received = event.to_string();
            found(KEY, &signature, &received, DiagnosisKind::Reserialized);
        }
    }
}

#[test]
fn a_line_end_added_or_removed() {
    let kind = DiagnosisKind::LineEnd;
    let text = "no JSON";
    for end in ["\n", "\r\n"] {
        let longer = format!("{text}{end}");
        found(KEY, &sign(KEY, text), &longer, kind);
        found(KEY, &sign(KEY, &longer), text, kind);
    }
    let (lf, crlf) = ("{\n  \"a\": 1\n}", "{\r\n  \"a\": 1\r\n}");
    found(KEY, &sign(KEY, lf), crlf, kind);
    found(KEY, &sign(KEY, crlf), lf, kind);
}

#[test]
fn an_empty_body_at_either_side() {
    let kind = DiagnosisKind::EmptyBody;
    found(KEY, &sign(KEY, ""), BODY, kind);
    let diagnosis = diagnose(&[KEY], sign(KEY, BODY), "");
    assert_eq!(kinds(&diagnosis), [kind]);
    assert_eq!(diagnosis.secret(), None);
}

// ---- more than one, and none

#[test]
fn mistakes_that_come_together_are_all_told() {
    let spaced = r#"{"event": "video.processed", "data": {}}"#;
    let compact = r#"{"event":"video.processed","data":{}}"#;
    let signature = STANDARD.encode(hex::decode(sign("whsec_old\n", spaced)).unwrap());
    let diagnosis = diagnose(
        &["whsec_new", "whsec_old"],
        format!("sha256={signature}"),
        compact,
    );
    assert_eq!(
        kinds(&diagnosis),
        [
            DiagnosisKind::SignaturePrefix,
            DiagnosisKind::SignatureBase64,
            DiagnosisKind::PreviousSecret,
            DiagnosisKind::SecretWhitespace,
            DiagnosisKind::Reserialized,
        ]
    );
    assert_eq!(diagnosis.secret(), Some(1));
    assert_eq!(diagnosis.to_string().lines().count(), 6);
}

#[test]
fn what_no_usual_mistake_explains_is_unknown() {
    let diagnosis = diagnose(&[KEY], sign("another endpoint's", BODY), BODY);
    assert_eq!(kinds(&diagnosis), [DiagnosisKind::Unknown]);
    assert_eq!(diagnosis.secret(), None);
    // What is wrong with the header is wrong whatever the secret is.
    let forged = format!("sha256={}", sign("another endpoint's", BODY));
    let diagnosis = diagnose(&[KEY], forged, BODY);
    let expected = [DiagnosisKind::SignaturePrefix, DiagnosisKind::Unknown];
    assert_eq!(kinds(&diagnosis), expected);
}

/// Attack: fill the memory with indentation.
#[test]
fn a_deeply_nested_body_is_not_laid_out() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    let diagnosis = diagnose(&[KEY], sign("other", "x"), deep);
    assert_eq!(kinds(&diagnosis), [DiagnosisKind::Unknown]);
}

/// Attack: read the secret, or a signature to forge with, out of a pasted diagnosis.
#[test]
fn nothing_that_is_told_gives_a_secret_or_a_signature_away() {
    let secret = "whsec_0nly-f0r-us";
    let spaced = r#"{"a": "hidden", "b": 1}"#;
    let compact = r#"{"a":"hidden","b":1}"#;
    for signed in [spaced, compact, ""] {
        let right = sign(secret, compact);
        let made = sign(secret, signed);
        for key in [secret.to_owned(), format!("{secret}\n"), "other".to_owned()] {
            let diagnosis = diagnose(&[key], &made, compact);
            for told in [diagnosis.to_string(), format!("{diagnosis:?}")] {
                for hidden in ["0nly", "hidden", &right[..8], &made[..8]] {
                    assert!(!told.contains(hidden), "{told}");
                }
            }
        }
    }
}

proptest! {
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

// ---- the example

fn verify(secret: &[&str], signature: &str, body: &[u8]) -> Output {
    let mut child = Command::new(example("verify"))
        .env_remove("SOUNDHASH_WEBHOOK_SECRET")
        .args(secret)
        .args(["--signature", signature, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read.
    let _ = child.stdin.take().unwrap().write_all(body);
    child.wait_with_output().unwrap()
}

#[test]
fn verify_says_right_or_wrong_and_why() {
    let secret = ["--secret", "whsec_0nly-f0r-us"];
    let signature = sign(secret[1], BODY);
    let output = verify(&secret, &signature, BODY);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"right\n"));

    let output = verify(&secret, &signature, &[BODY, b"\n"].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.starts_with("wrong\nThe body given here has a line end"),
        "{told}"
    );
    assert!(!told.contains("0nly"), "{told}");
}

#[test]
fn verify_reads_a_file_and_the_environment_and_fails_without() {
    let capture = include_bytes!("../../captures/portal-match.found.http");
    let text = str::from_utf8(capture).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let header = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Webhook-Signature: "));
    let file = std::env::temp_dir().join(format!("verify-{}.json", std::process::id()));
    std::fs::write(&file, body).unwrap();
    let run = |variable: Option<&str>, file: &std::path::Path| {
        Command::new(example("verify"))
            .env_remove("SOUNDHASH_WEBHOOK_SECRET")
            .envs(variable.map(|secret| ("SOUNDHASH_WEBHOOK_SECRET", secret)))
            .args(["--signature", header.unwrap()])
            .arg(file)
            .output()
            .unwrap()
    };
    assert_eq!(run(Some("whsec_test"), &file).status.code(), Some(0));
    let padded = run(Some("whsec_test\n"), &file);
    assert_eq!(padded.status.code(), Some(1));
    assert!(
        String::from_utf8(padded.stdout)
            .unwrap()
            .contains("white space")
    );

    let without = run(None, &file);
    assert_eq!(without.status.code(), Some(1));
    let told = String::from_utf8(without.stderr).unwrap();
    assert!(told.contains("SOUNDHASH_WEBHOOK_SECRET"), "{told}");
    std::fs::remove_file(&file).unwrap();
    let missing = run(Some("whsec_test"), &file);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains(".json"));
}
