//! Tests the diagnosis as a whole: several mistakes, no mistakes, and the text.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::Value;
use soundhash_webhook_diagnose::{
    DiagnosisKind::{
        MalformedSignature, PreviousSecret, Reserialized, Right, SecretWhitespace, SignatureBase64,
        SignaturePrefix, Unknown,
    },
    diagnose,
};

use super::{BODY, KEY, finds, kinds, sign};

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
        assert!(
            text.contains("another secret, or other bytes arrive there"),
            "{text}"
        );
    }
}

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
    // Mistakes in the header are reported even if no secret matches.
    let prefixed = format!("sha256={other}");
    finds(&[KEY], prefixed, BODY, &[SignaturePrefix, Unknown], None);
}

/// Attack: read the secret, or a usable signature, from a diagnosis that was pasted somewhere.
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

/// An arbitrary JSON object, with its keys in any order.
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
    /// No mistake is found if none was made.
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
    // The number of cases is low, because each case tries every mistake.
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
