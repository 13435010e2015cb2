//! Explains why the signature of a SoundHash webhook does not match.
//!
//! [`diagnose`] tries combinations of common mistakes in each part of a signature:
//!
//! - `header`: mistakes with the signature header.
//! - `keys`: mistakes with the secret.
//! - `methods`: mistakes with the hash.
//! - `bodies`: mistakes with the body.
//! - `json`: JSON text in another layout.
//! - `diagnosis`: the result, and the text that explains it.

#![forbid(unsafe_code)]

mod bodies;
mod diagnosis;
mod header;
mod json;
mod keys;
mod methods;

use std::{collections::HashSet, ops::ControlFlow};

pub use self::diagnosis::{Diagnosis, DiagnosisKind};
use self::{
    diagnosis::Mistake,
    header::{Header, Tag},
    keys::{Key, keys},
};

/// The maximum length of a body for which every mistake with the body is combined with every
/// mistake with the secret. Rewritten numbers are never combined with mistakes with the secret,
/// because there are too many variants of them.
const LARGE: usize = 16 * 1024;

/// Finds the mistakes that explain a wrong signature.
///
/// `secrets` are the secrets that you have, with the current one first. `signature` is the value of
/// the `X-Webhook-Signature` header as it arrived, with several values joined by commas. `body` is
/// the body as it arrived.
///
/// This function tries common mistakes one after another, and returns the first that would produce
/// this signature. If none does, the result is [`DiagnosisKind::Unknown`]. Use it during
/// development, with requests that you recorded. It hashes the body up to a few hundred times, so
/// do not call this function in a running service.
///
/// Some mistakes can only be found if the signed bytes can be reconstructed. The original key order
/// can be restored for the events that SoundHash sends. A compressed body can be reproduced if the
/// sender used the same compressor.
///
/// ```
/// use soundhash_webhook::Secret;
/// use soundhash_webhook_diagnose::{DiagnosisKind, diagnose};
///
/// let signed = br#"{"event": "video.processed", "data": {}}"#;
/// let signature = Secret::new("whsec_test").sign(signed).to_string();
///
/// let received = br#"{"event":"video.processed","data":{}}"#;
/// let diagnosis = diagnose(&["whsec_test"], &signature, received);
/// assert_eq!(diagnosis.kind(), DiagnosisKind::Reserialized);
/// println!("{diagnosis}");
/// ```
#[must_use]
pub fn diagnose<K: AsRef<[u8]>>(
    secrets: &[K],
    signature: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
) -> Diagnosis {
    let body = body.as_ref();
    let Header {
        mut mistakes,
        tags,
        timestamps,
    } = Header::read(signature.as_ref());
    let mut keys: Vec<Key> = (secrets.iter().enumerate())
        .flat_map(|(index, secret)| keys(index, secret.as_ref()))
        .collect();
    keys.sort_by_key(|key| key.mistakes.len());

    if let Some(found) = explain(&keys, &tags, &timestamps, body) {
        mistakes.extend(found.encoding);
        mistakes.extend(found.key.mistakes.iter().cloned());
        mistakes.extend(found.other);
        return Diagnosis::new(mistakes, Some(found.key.index));
    }

    if let [tag, ..] = &tags[..] {
        mistakes.extend(tag.encoding.clone());
    }
    mistakes.extend(if keys.is_empty() {
        Some(DiagnosisKind::NoSecret.mistake("There is no secret to check with"))
    } else if tags.is_empty() {
        // Without a signature, there is nothing else to check.
        None
    } else if tags.iter().all(|tag| tag.bytes.len() != 32) {
        let what = "The signature is not as long as one of HMAC-SHA-256, and no other hash of \
                    these bytes with this secret explains it";
        Some(DiagnosisKind::MalformedSignature.mistake(what))
    } else if body.is_empty() {
        let what = "The body given here is empty, but an empty body was not signed";
        Some(DiagnosisKind::EmptyBody.mistake(what))
    } else if is_cut_off(body) {
        let what = format!(
            "The body given here ends in the middle of its JSON, after {} bytes",
            body.len()
        );
        Some(DiagnosisKind::Truncated.mistake(what))
    } else {
        let what = "None of the usual mistakes explains this signature";
        Some(DiagnosisKind::Unknown.mistake(what))
    });
    Diagnosis::new(mistakes, None)
}

/// The sender's mistakes that would account for a mismatched signature.
struct Explanation<'a> {
    encoding: Option<Mistake>,
    key: &'a Key,
    /// The mistake with the method or the body, if there is one.
    other: Option<Mistake>,
}

/// Tries the received body first, then other signing methods, and then other bodies.
///
/// The order matters only if two mistakes have the same effect. Otherwise, there is at most one
/// explanation, because different messages or keys do not produce the same signature.
fn explain<'a>(
    keys: &'a [Key],
    tags: &[Tag],
    timestamps: &[String],
    body: &[u8],
) -> Option<Explanation<'a>> {
    if tags.is_empty() {
        return None;
    }
    let explanation = |tag: &Tag, key: &'a Key, other| Explanation {
        encoding: tag.encoding.clone(),
        key,
        other,
    };
    let with_tag = |made: [u8; 32], key: &'a Key| {
        let tag = tags.iter().find(|tag| tag.bytes == made)?;
        Some(explanation(tag, key, None))
    };
    let signed = |bytes: &[u8], key: &'a Key| with_tag(key.sign(bytes), key);
    if let Some(found) = keys.iter().find_map(|key| signed(body, key)) {
        return Some(found);
    }

    let given = || keys.iter().filter(|key| key.is_given());
    for key in given() {
        for tag in tags {
            if let Some(mistake) = methods::find(&key.bytes, body, &tag.bytes) {
                return Some(explanation(tag, key, Some(mistake)));
            }
        }
    }

    // Different mistakes often lead to the same bytes, which are then not tried again. The first
    // key's signature identifies them.
    let mut tried: HashSet<_> = (keys.iter().take(1))
        .flat_map(|key| [false, true].map(|many| (many, key.sign(body))))
        .collect();
    let mut found = None;
    let _ = bodies::visit(body, timestamps, &mut |kind, what, bytes| {
        let many = bytes.len() > LARGE || kind == DiagnosisKind::NumbersRewritten;
        let mut keys = keys.iter().filter(|key| !many || key.is_given());
        let Some(first) = keys.next() else {
            return ControlFlow::Continue(());
        };
        let made = first.sign(bytes);
        if !tried.insert((many, made)) {
            return ControlFlow::Continue(());
        }
        let hit = with_tag(made, first).or_else(|| keys.find_map(|key| signed(bytes, key)));
        let Some(hit) = hit else {
            return ControlFlow::Continue(());
        };
        let other = Some(kind.mistake(what));
        found = Some(Explanation { other, ..hit });
        ControlFlow::Break(())
    });
    found.or_else(|| {
        given().find_map(|key| {
            let (tag, len) = bodies::signed_length(&key.bytes, tags, body)?;
            let total = body.len();
            let what = format!("The signature covers only the first {len} of {total} bytes");
            let mistake = DiagnosisKind::Truncated.mistake(what);
            Some(explanation(tag, key, Some(mistake)))
        })
    })
}

fn is_cut_off(body: &[u8]) -> bool {
    // This does not build a value, so it does not recurse into a deeply nested body.
    let ends_early = || match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => false,
        Err(error) => error.is_eof(),
    };
    body.trim_ascii_start().starts_with(b"{") && ends_early()
}
