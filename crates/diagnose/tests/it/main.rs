//! Tests that `diagnose` finds each common mistake, and that its text never reveals a secret.

mod bodies;
mod diagnosis;
mod header;
mod json;
mod keys;
mod methods;

use soundhash_webhook::Secret;
use soundhash_webhook_diagnose::{Diagnosis, DiagnosisKind, diagnose};

const BODY: &[u8] = br#"{"event":"video.processed","data":{"title":"Test Video"}}"#;

const KEY: &str = "whsec_c291bmRoYXNoLXRlc3Qta2V5Pz4_";

fn sign(key: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> String {
    Secret::new(key).sign(body.as_ref()).to_string()
}

fn kinds(diagnosis: &Diagnosis) -> Vec<DiagnosisKind> {
    diagnosis.kinds().collect()
}

/// Runs a diagnosis with one secret, and expects a single mistake.
#[track_caller]
fn found(secret: impl AsRef<[u8]>, signature: &str, body: impl AsRef<[u8]>, kind: DiagnosisKind) {
    let diagnosis = diagnose(&[secret.as_ref()], signature, body);
    assert_eq!(kinds(&diagnosis), [kind], "{diagnosis}");
    assert_eq!(diagnosis.kind(), kind);
    assert_eq!(diagnosis.secret(), Some(0));
    assert!(!diagnosis.is_right());
}

/// Expects this mistake for either of the two bodies if the other one was signed.
#[track_caller]
fn found_either_way(kind: DiagnosisKind, one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) {
    found(KEY, &sign(KEY, &one), &other, kind);
    found(KEY, &sign(KEY, &other), &one, kind);
}

/// Checks the complete list of mistakes found, and which secret explains the signature.
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

fn utf16(text: &str) -> Vec<Vec<u8>> {
    let marked = format!("\u{feff}{text}");
    let mut encoded = Vec::new();
    for text in [text, &marked] {
        encoded.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        encoded.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    encoded
}
