//! `RotatingSecrets`: secrets that are set while requests arrive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use bytes::Bytes;
use soundhash_webhook::{RejectionKind, RotatingSecrets, Secrets, SoundHashWebhookLayer};

use super::request;
use crate::support::{BODY, echo, outcome};

#[tokio::test]
async fn secrets_that_are_set_apply_to_the_next_request_of_every_clone() {
    let secrets = RotatingSecrets::new(Secrets::new("old"));
    let service = echo(SoundHashWebhookLayer::with_provider(secrets.clone()));
    let check = async |secret: &str| outcome(service.clone(), request("any", secret)).await;
    let (accepted, rejected) = (
        Ok(Bytes::from_static(BODY)),
        Err(RejectionKind::WrongSignature),
    );
    assert_eq!(check("old").await, accepted);
    assert_eq!(check("new").await, rejected);

    secrets.set(Secrets::new("new").previous("old"));
    assert_eq!(check("old").await, accepted);
    assert_eq!(check("new").await, accepted);

    secrets.clone().set(Secrets::new("new"));
    assert_eq!(check("old").await, rejected);
    assert_eq!(check("new").await, accepted);
}

#[tokio::test]
async fn no_request_is_rejected_while_a_valid_secret_changes_its_place() {
    let secrets = RotatingSecrets::new(Secrets::new("a").previous("b"));
    let done = Arc::new(AtomicBool::new(false));
    let setter = thread::spawn({
        let (secrets, done) = (secrets.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                secrets.set(Secrets::new("b").previous("c").previous("a"));
                secrets.set(Secrets::new("a").previous("b"));
            }
        }
    });
    let service = echo(SoundHashWebhookLayer::with_provider(secrets));
    for _ in 0..500 {
        for secret in ["a", "b"] {
            let verified = outcome(service.clone(), request("any", secret)).await;
            assert_eq!(verified, Ok(Bytes::from_static(BODY)));
        }
    }
    done.store(true, Ordering::Relaxed);
    setter.join().unwrap();
}

#[test]
fn debug_shows_no_secret() {
    let secrets = RotatingSecrets::new(Secrets::new("s3cr3t"));
    assert!(!format!("{secrets:?}").contains("s3cr3t"));
}
