use base64::{
    Engine,
    engine::general_purpose::{
        STANDARD, STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT, URL_SAFE, URL_SAFE_NO_PAD,
        URL_SAFE_PAD_INDIFFERENT,
    },
};
use zeroize::Zeroizing;

use super::diagnosis::{DiagnosisKind, Mistake};
use crate::secret::Secret;

const PREFIX: &[u8] = b"whsec_";

/// A secret that may have made the signature.
pub(super) struct Key {
    pub(super) secret: Secret,
    /// Which of the given ones it comes from.
    pub(super) index: usize,
    pub(super) mistakes: Vec<Mistake>,
}

/// `secret` as it is, and as the usual mistakes make it.
pub(super) fn keys(index: usize, secret: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |bytes: &[u8], mistake: Option<Mistake>| {
        // Nobody signs with nothing, and `Secret` refuses to.
        if !bytes.is_empty() {
            let previous = (index > 0).then(|| {
                let what = "The signature was made with another than the first secret.";
                DiagnosisKind::PreviousSecret.mistake(what)
            });
            keys.push(Key {
                secret: Secret::new(bytes),
                index,
                mistakes: previous.into_iter().chain(mistake).collect(),
            });
        }
    };
    if secret.is_empty() {
        return keys;
    }
    add(secret, None);
    white_space(secret, &mut add);
    prefix(secret, &mut add);
    base64(secret, &mut add);
    keys
}

type Add<'a> = dyn FnMut(&[u8], Option<Mistake>) + 'a;

fn white_space(secret: &[u8], add: &mut Add<'_>) {
    let here = "The secret given here has white space at an end, the signer's has none.";
    let there = "The signer's secret has white space at an end, the one given here has none.";
    let mistake = |what| Some(DiagnosisKind::SecretWhitespace.mistake(what));
    for trimmed in [
        secret.trim_ascii(),
        secret.trim_ascii_end(),
        secret.trim_ascii_start(),
    ] {
        if trimmed.len() != secret.len() {
            add(trimmed, mistake(here));
        }
    }
    for space in [&b"\n"[..], b"\r\n", b" ", b"\t"] {
        add(&joined(secret, space), mistake(there));
        add(&joined(space, secret), mistake(there));
    }
}

fn prefix(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what| Some(DiagnosisKind::SecretPrefix.mistake(what));
    match secret.strip_prefix(PREFIX) {
        Some(rest) => add(
            rest,
            mistake("The signer's secret lacks the `whsec_` that the one given here has."),
        ),
        None => add(
            &joined(PREFIX, secret),
            mistake("The secret given here lacks the `whsec_` that the signer's has."),
        ),
    }
}

fn base64(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what| Some(DiagnosisKind::SecretBase64.mistake(what));
    let there = "The signer decoded the secret from base64.";
    let here = "The secret given here was decoded from base64, the signer's was not.";

    let without_prefix = secret.strip_prefix(PREFIX);
    for text in [Some(secret), without_prefix].into_iter().flatten() {
        for alphabet in [STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT] {
            if let Ok(bytes) = alphabet.decode(text).map(Zeroizing::new) {
                add(&bytes, mistake(there));
            }
        }
    }
    for alphabet in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let text = Zeroizing::new(alphabet.encode(secret));
        add(text.as_bytes(), mistake(here));
        add(&joined(PREFIX, text.as_bytes()), mistake(here));
    }
}

fn joined(a: &[u8], b: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([a, b].concat())
}
