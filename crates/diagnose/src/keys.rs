//! The keys that mistakes can turn a secret into.

use base64::{
    Engine,
    engine::general_purpose::{
        STANDARD, STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT, URL_SAFE, URL_SAFE_NO_PAD,
        URL_SAFE_PAD_INDIFFERENT,
    },
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    bodies::{from_utf16, to_utf16},
    diagnosis::{DiagnosisKind, Mistake},
};

const PREFIX: &[u8] = b"whsec_";
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const NON_BREAKING_SPACE: &[u8] = "\u{a0}".as_bytes();

/// A key that the signer may have used.
pub(super) struct Key {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    keyed: Hmac<Sha256>,
    /// The index of the given secret that the key comes from.
    pub(super) index: usize,
    pub(super) mistakes: Vec<Mistake>,
}

impl Key {
    pub(super) fn sign(&self, body: &[u8]) -> [u8; 32] {
        let mac = self.keyed.clone().chain_update(body);
        mac.finalize().into_bytes().into()
    }

    /// Returns whether this is one of the given secrets, unchanged.
    pub(super) fn is_given(&self) -> bool {
        let previous = |it: &Mistake| it.kind == DiagnosisKind::PreviousSecret;
        self.mistakes.iter().all(previous)
    }
}

/// Returns `secret` unchanged, and as common mistakes change it.
pub(super) fn keys(index: usize, secret: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |bytes: &[u8], mistake: Option<Mistake>| {
        // HMAC accepts any key, but an empty key is not a secret.
        if let (false, Ok(keyed)) = (bytes.is_empty(), Hmac::new_from_slice(bytes)) {
            let previous = (index > 0).then(|| {
                let what = "The signature was made with another secret than the first one";
                DiagnosisKind::PreviousSecret.mistake(what)
            });
            keys.push(Key {
                bytes: Zeroizing::new(bytes.to_vec()),
                keyed,
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
    quotes(secret, &mut add);
    label(secret, &mut add);
    prefix(secret, &mut add);
    base64(secret, &mut add);
    utf16(secret, &mut add);
    invisible(secret, &mut add);
    keys
}

type Add<'a> = dyn FnMut(&[u8], Option<Mistake>) + 'a;

fn white_space(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretWhitespace.mistake(what));
    let here = "The secret given here has white space or a byte order mark at an end";
    let there = "The signer's secret has white space or a byte order mark at an end";
    if let Ok(text) = str::from_utf8(secret) {
        let is_space = |it: char| it.is_whitespace() || it == '\u{feff}';
        for trimmed in [
            text.trim_matches(is_space),
            text.trim_end_matches(is_space),
            text.trim_start_matches(is_space),
        ] {
            if trimmed.len() != secret.len() {
                add(trimmed.as_bytes(), mistake(here));
            }
        }
    }
    for space in [
        &b"\n"[..],
        b"\r\n",
        b" ",
        b"\t",
        b"\n\n",
        b"\r\n\r\n",
        NON_BREAKING_SPACE,
        BYTE_ORDER_MARK,
    ] {
        add(&joined(secret, space), mistake(there));
        add(&joined(space, secret), mistake(there));
    }
}

/// Removes characters that are not shown, wherever they are.
fn invisible(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretInvisible.mistake(what));
    let is_invisible = |it: &char| {
        let format = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}'];
        let ranges = [
            '\u{200b}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
        ];
        it.is_control() || format.contains(it) || ranges.iter().any(|range| range.contains(it))
    };
    if let Ok(text) = str::from_utf8(secret) {
        let visible: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|it| !is_invisible(it)).collect());
        if visible.len() != secret.len() {
            let what = "The secret given here has characters that are not shown";
            add(visible.as_bytes(), mistake(what));
        }
    }
    let what = "The signer's secret has characters that are not shown";
    let zero_width = "\u{200b}".as_bytes();
    add(&joined(secret, zero_width), mistake(what));
    add(&joined(zero_width, secret), mistake(what));
}

const QUOTES: [(&str, &str); 5] = [("\"", "\""), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’")];

fn unquoted(text: &[u8]) -> Option<&[u8]> {
    QUOTES.iter().find_map(|(start, end)| {
        let inner = text.strip_prefix(start.as_bytes())?;
        inner.strip_suffix(end.as_bytes())
    })
}

fn quotes(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretQuotes.mistake(what));
    if let Some(inner) = unquoted(secret) {
        add(inner, mistake("The secret given here has quotes around it"));
    }
    for (start, end) in QUOTES {
        let quoted = joined(start.as_bytes(), &joined(secret, end.as_bytes()));
        add(&quoted, mistake("The signer's secret has quotes around it"));
    }
}

/// Removes a prefix from the secret, such as the name in a settings file or the prefix of another
/// sender's format.
fn label(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretLabel.mistake(what));
    let here = "The secret given here has something before it";
    let line = secret
        .strip_prefix(b"export ")
        .unwrap_or(secret)
        .trim_ascii();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let name = line.iter().take_while(|byte| is_name(byte)).count();
    let rest = line[name..].trim_ascii_start();
    if name > 0 && rest.first().is_some_and(|byte| b"=:,".contains(byte)) {
        let value = rest[1..].trim_ascii();
        add(unquoted(value).unwrap_or(value), mistake(here));
    }
    let there = "The signer's secret has something before it";
    for label in [&b"v1,"[..], b"SOUNDHASH_WEBHOOK_SECRET="] {
        add(&joined(label, secret), mistake(there));
    }
}

fn prefix(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretPrefix.mistake(what));
    match secret.strip_prefix(PREFIX) {
        Some(rest) => add(
            rest,
            mistake("The signer's secret lacks the `whsec_` of the one given here"),
        ),
        None => add(
            &joined(PREFIX, secret),
            mistake("The secret given here lacks the `whsec_` of the signer's"),
        ),
    }
}

fn base64(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretBase64.mistake(what));
    let there = "The signer decoded the secret from base64";
    let here = "The secret given here was decoded from base64, and the signer's was not";

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

fn utf16(secret: &[u8], add: &mut Add<'_>) {
    let mistake = |what: &'static str| Some(DiagnosisKind::SecretUtf16.mistake(what));
    if let Some(text) = from_utf16(secret).map(Zeroizing::new) {
        let what = "The secret given here is in UTF-16";
        add(text.trim().as_bytes(), mistake(what));
    }
    for encoded in to_utf16(secret) {
        let encoded = Zeroizing::new(encoded);
        add(&encoded, mistake("The signer's secret is in UTF-16"));
    }
}

fn joined(a: &[u8], b: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([a, b].concat())
}
