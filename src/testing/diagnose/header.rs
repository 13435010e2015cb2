use base64::{
    Engine,
    engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT},
};

use super::diagnosis::{DiagnosisKind, Mistake};
use crate::signature::Signature;

/// As many values are looked at.
const MOST: usize = 8;

/// What a header value may have meant.
pub(super) struct Header {
    /// What is wrong with it as a whole.
    pub(super) mistakes: Vec<Mistake>,
    /// The signatures in it, and what is wrong with each.
    pub(super) signatures: Vec<(Signature, Option<Mistake>)>,
}

impl Header {
    pub(super) fn read(value: &[u8]) -> Self {
        let mut mistakes = Vec::new();
        let trimmed = value.trim_ascii();
        if trimmed.is_empty() {
            let mistake = DiagnosisKind::MissingSignature.mistake("There is no signature.");
            return Self {
                mistakes: vec![mistake],
                signatures: Vec::new(),
            };
        }
        if trimmed.len() != value.len() {
            let what = "White space stands around the signature.";
            mistakes.push(DiagnosisKind::SignatureWhitespace.mistake(what));
        }

        let signatures: Vec<_> = trimmed
            .split(|byte| matches!(byte, b',' | b';' | b' '))
            .filter_map(read_part)
            .take(MOST)
            .collect();
        if signatures.is_empty() {
            let what = "The header is not a signature.";
            mistakes.push(DiagnosisKind::MalformedSignature.mistake(what));
        } else if signatures.len() > 1 {
            let what = "There is more than one signature.";
            mistakes.push(DiagnosisKind::SeveralSignatures.mistake(what));
        } else if decode(trimmed).is_none() {
            let what = "Something stands beside the signature.";
            mistakes.push(DiagnosisKind::SignaturePrefix.mistake(what));
        }
        Self {
            mistakes,
            signatures,
        }
    }
}

/// A signature alone, or behind `name=`.
fn read_part(part: &[u8]) -> Option<(Signature, Option<Mistake>)> {
    decode(part).or_else(|| {
        let equals = part.iter().position(|&byte| byte == b'=')?;
        decode(&part[equals + 1..])
    })
}

fn decode(text: &[u8]) -> Option<(Signature, Option<Mistake>)> {
    if let Some(signature) = from_digits(text) {
        return Some((signature, None));
    }
    let bytes = [STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT]
        .iter()
        .find_map(|alphabet| alphabet.decode(text).ok())?;
    let (signature, what) = match <[u8; 32]>::try_from(&*bytes) {
        Ok(tag) => (
            Signature::from_tag(tag),
            "The signature is in base64, and not in hexadecimal digits.",
        ),
        Err(_) => (
            from_digits(&bytes)?,
            "The signature's digits were encoded in base64.",
        ),
    };
    let mistake = DiagnosisKind::SignatureBase64.mistake(what);
    Some((signature, Some(mistake)))
}

fn from_digits(text: &[u8]) -> Option<Signature> {
    str::from_utf8(text).ok()?.parse().ok()
}
