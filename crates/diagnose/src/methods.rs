//! Recognizes signatures that were made with a method other than HMAC-SHA256.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::diagnosis::{DiagnosisKind, Mistake};

/// Finds the signing method that produced `tag` from `key` and `body`.
pub(super) fn find(key: &[u8], body: &[u8], tag: &[u8]) -> Option<Mistake> {
    let hash = |what| DiagnosisKind::WrongHash.mistake(what);
    let concatenated = |parts: [&[u8]; 2]| {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize()[..] == *tag
    };
    match tag.len() {
        20 => (hmac::<Hmac<Sha1>>(key, body)? == tag)
            .then(|| hash("The signature is an HMAC with SHA-1")),
        64 => (hmac::<Hmac<Sha512>>(key, body)? == tag)
            .then(|| hash("The signature is an HMAC with SHA-512")),
        32 if concatenated([body, b""]) => Some(hash(
            "The signature is the SHA-256 of the body, without a key",
        )),
        32 if concatenated([key, body]) || concatenated([body, key]) => Some(hash(
            "The signature is the SHA-256 of the secret and the body in a row",
        )),
        32 if hmac::<Hmac<Sha256>>(body, key)? == tag => {
            let what = "The key and the message of the HMAC are swapped";
            Some(DiagnosisKind::SwappedArguments.mistake(what))
        }
        _ => None,
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let mac = <M as KeyInit>::new_from_slice(key).ok()?;
    Some(mac.chain_update(message).finalize().into_bytes().to_vec())
}
