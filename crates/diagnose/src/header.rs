//! Parses the signature header, and finds mistakes in it.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT},
};

use super::diagnosis::{DiagnosisKind, Mistake};

/// The maximum number of signatures, and of timestamps, that are read from a header.
const MOST: usize = 8;

/// The lengths of SHA-1, SHA-256 and SHA-512 hashes.
const LENGTHS: [usize; 3] = [20, 32, 64];

/// A parsed header value.
pub(super) struct Header {
    /// The mistakes in the value as a whole.
    pub(super) mistakes: Vec<Mistake>,
    pub(super) tags: Vec<Tag>,
    /// The `t=` values that other senders put into the header next to a signature.
    pub(super) timestamps: Vec<String>,
}

/// The bytes of a signature.
pub(super) struct Tag {
    pub(super) bytes: Vec<u8>,
    /// The mistake in the signature's encoding, if there is one.
    pub(super) encoding: Option<Mistake>,
}

impl Header {
    pub(super) fn read(value: &[u8]) -> Self {
        let mut header = Self {
            mistakes: Vec::new(),
            tags: Vec::new(),
            timestamps: Vec::new(),
        };
        let text = String::from_utf8_lossy(value);
        let is_space = |it: char| it.is_whitespace() || it == '\u{feff}';
        let trimmed = text.trim_matches(is_space);
        if trimmed.is_empty() {
            header.add(DiagnosisKind::MissingSignature, "There is no signature");
            return header;
        }
        if trimmed.len() != text.len() {
            let what = "There is whitespace around the signature";
            header.add(DiagnosisKind::SignatureWhitespace, what);
        }
        let unquoted = trimmed.replace(['"', '\'', '`', '“', '”', '‘', '’'], "");
        if unquoted.len() != trimmed.len() {
            let what = "There are quotes around the signature";
            header.add(DiagnosisKind::SignatureQuotes, what);
        }

        let parts = || unquoted.split([',', ';', ' ']);
        header.tags = parts().filter_map(read_part).take(MOST).collect();
        let timestamps = parts().filter_map(|part| part.strip_prefix("t="));
        header.timestamps = timestamps.take(MOST).map(ToOwned::to_owned).collect();
        if header.tags.is_empty() {
            let what = "The header is not a signature";
            header.add(DiagnosisKind::MalformedSignature, what);
        } else if header.tags.len() > 1 {
            let what = "There is more than one signature";
            header.add(DiagnosisKind::SeveralSignatures, what);
        } else if decode(&unquoted).is_none() {
            let what = "There is something next to the signature";
            header.add(DiagnosisKind::SignaturePrefix, what);
        }
        header
    }

    fn add(&mut self, kind: DiagnosisKind, what: &'static str) {
        self.mistakes.push(kind.mistake(what));
    }
}

/// Parses a signature, which may have a leading `name=`.
fn read_part(part: &str) -> Option<Tag> {
    decode(part).or_else(|| decode(part.split_once('=')?.1))
}

fn decode(text: &str) -> Option<Tag> {
    if let Some(bytes) = from_digits(text.as_bytes()) {
        let twice = from_digits(&bytes);
        let encoding = twice.is_some().then(|| {
            let what = "The signature's digits were written as hexadecimal digits once more";
            DiagnosisKind::SignatureHexTwice.mistake(what)
        });
        let bytes = twice.unwrap_or(bytes);
        return Some(Tag { bytes, encoding });
    }
    let bytes = [STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT]
        .iter()
        .find_map(|alphabet| alphabet.decode(text).ok())?;
    let (bytes, what) = match from_digits(&bytes) {
        Some(digits) => (digits, "The signature's digits were encoded in base64"),
        None => (bytes, "The signature is in base64"),
    };
    let encoding = Some(DiagnosisKind::SignatureBase64.mistake(what));
    (LENGTHS.contains(&bytes.len())).then_some(Tag { bytes, encoding })
}

/// Decodes the hexadecimal digits of a hash.
fn from_digits(digits: &[u8]) -> Option<Vec<u8>> {
    let len = *LENGTHS.iter().find(|len| 2 * **len == digits.len())?;
    let mut bytes = vec![0; len];
    base16ct::mixed::decode(digits, &mut bytes).ok()?;
    Some(bytes)
}
