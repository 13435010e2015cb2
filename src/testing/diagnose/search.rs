use super::{
    bodies::bodies,
    diagnosis::{Diagnosis, DiagnosisKind, Mistake},
    header::Header,
    keys::{Key, keys},
};
use crate::signature::Signature;

/// Says which of the usual mistakes explains why a signature does not match.
///
/// `secrets` are the keys that one has, the current one first; `signature` is the value of
/// the `X-Webhook-Signature` header as it came, several values joined by commas; `body` is
/// what was received.
///
/// It tries secrets, bodies and spellings of the signature that come of usual mistakes, and
/// answers the combination with the fewest that fits. It is for developers, with requests
/// that they recorded: it hashes the body hundreds of times, and has no place in a service.
///
/// A body whose keys were sorted or whose numbers were rewritten is
/// [`Unknown`](DiagnosisKind::Unknown), since what was signed cannot be restored.
///
/// ```
/// use soundhash_webhook::{Secret, testing::{DiagnosisKind, diagnose}};
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
        signatures,
    } = Header::read(signature.as_ref());
    let keys: Vec<Key> = (secrets.iter().enumerate())
        .flat_map(|(index, secret)| keys(index, secret.as_ref()))
        .collect();

    if let Some((encoding, key, body_mistake)) = explain(&keys, &signatures, body) {
        mistakes.extend(encoding);
        mistakes.extend(&key.mistakes);
        mistakes.extend(body_mistake);
        return Diagnosis::new(mistakes, Some(key.index));
    }

    if let [(_, Some(encoding)), ..] = signatures[..] {
        mistakes.push(encoding);
    }
    mistakes.extend(if keys.is_empty() {
        Some(DiagnosisKind::NoSecret.mistake("There is no secret to check with."))
    } else if signatures.is_empty() {
        // Without a signature, nothing is known of the rest.
        None
    } else if body.is_empty() {
        Some(
            DiagnosisKind::EmptyBody
                .mistake("The body given here is empty, but was not signed so."),
        )
    } else {
        Some(DiagnosisKind::Unknown.mistake("None of the usual mistakes explains this signature."))
    });
    Diagnosis::new(mistakes, None)
}

/// The fewest mistakes with which a key makes one of the signatures.
fn explain<'a>(
    keys: &'a [Key],
    signatures: &[(Signature, Option<Mistake>)],
    body: &[u8],
) -> Option<(Option<Mistake>, &'a Key, Option<Mistake>)> {
    if signatures.is_empty() {
        return None;
    }
    let bodies = bodies(body);
    let most = |key: &Key| key.mistakes.len() + 1;
    for count in 0..=keys.iter().map(most).max()? {
        for key in keys {
            for body in &bodies {
                if key.mistakes.len() + usize::from(body.mistake.is_some()) != count {
                    continue;
                }
                let made = key.secret.sign(&body.bytes);
                if let Some((_, encoding)) = signatures.iter().find(|(given, _)| *given == made) {
                    return Some((*encoding, key, body.mistake));
                }
            }
        }
    }
    None
}
