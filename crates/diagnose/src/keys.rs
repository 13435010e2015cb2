//! Derives the keys that common mistakes turn a secret into.

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
    diagnosis::{
        DiagnosisKind::{
            self, PreviousSecret, SecretBase64, SecretInvisible, SecretLabel, SecretPrefix,
            SecretQuotes, SecretUtf16, SecretWhitespace,
        },
        Mistake,
    },
};

const PREFIX: &[u8] = b"whsec_";

/// A key that the signer may have used.
pub(super) struct Key {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    keyed: Hmac<Sha256>,
    /// The index of the given secret that the key was derived from.
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
        self.mistakes.iter().all(|it| it.kind == PreviousSecret)
    }
}

/// Returns `secret` both unchanged and altered by common mistakes.
pub(super) fn keys(index: usize, secret: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |mistake: Option<Mistake>, bytes: &[u8]| {
        // HMAC accepts any key, but an empty key is never a real secret.
        if let (false, Ok(keyed)) = (bytes.is_empty(), Hmac::new_from_slice(bytes)) {
            let previous = (index > 0).then(|| {
                let what = "The signature was made with another secret than the first one";
                PreviousSecret.mistake(what)
            });
            keys.push(Key {
                bytes: Zeroizing::new(bytes.to_vec()),
                keyed,
                index,
                mistakes: previous.into_iter().chain(mistake).collect(),
            });
        }
    };
    if !secret.is_empty() {
        add(None, secret);
        let mut add =
            |kind: DiagnosisKind, what, bytes: &[u8]| add(Some(kind.mistake(what)), bytes);
        whitespace(secret, &mut add);
        quotes(secret, &mut add);
        label(secret, &mut add);
        prefix(secret, &mut add);
        base64(secret, &mut add);
        utf16(secret, &mut add);
        invisible(secret, &mut add);
    }
    keys
}

type Add<'a> = dyn FnMut(DiagnosisKind, &'static str, &[u8]) + 'a;

fn whitespace(secret: &[u8], add: &mut Add<'_>) {
    let here = "The secret given here has whitespace or a byte order mark at an end";
    let there = "The signer's secret has whitespace or a byte order mark at an end";
    if let Ok(text) = str::from_utf8(secret) {
        let is_space = |it: char| it.is_whitespace() || it == '\u{feff}';
        for trimmed in [
            text.trim_matches(is_space),
            text.trim_end_matches(is_space),
            text.trim_start_matches(is_space),
        ] {
            if trimmed.len() != secret.len() {
                add(SecretWhitespace, here, trimmed.as_bytes());
            }
        }
    }
    // The last two are a non-breaking space and a byte order mark.
    for space in [
        "\n", "\r\n", " ", "\t", "\n\n", "\r\n\r\n", "\u{a0}", "\u{feff}",
    ] {
        add(SecretWhitespace, there, &joined(secret, space.as_bytes()));
        add(SecretWhitespace, there, &joined(space.as_bytes(), secret));
    }
}

/// Removes invisible characters, wherever they are.
fn invisible(secret: &[u8], add: &mut Add<'_>) {
    let is_invisible = |it: char| {
        let format = matches!(
            it,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        );
        format || it.is_control()
    };
    if let Ok(text) = str::from_utf8(secret) {
        let visible = Zeroizing::new(text.replace(is_invisible, ""));
        if visible.len() != secret.len() {
            let what = "The secret given here has characters that are not shown";
            add(SecretInvisible, what, visible.as_bytes());
        }
    }
    let what = "The signer's secret has characters that are not shown";
    let zero_width = "\u{200b}".as_bytes();
    add(SecretInvisible, what, &joined(secret, zero_width));
    add(SecretInvisible, what, &joined(zero_width, secret));
}

const QUOTES: [(&str, &str); 5] = [("\"", "\""), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’")];

fn unquoted(text: &[u8]) -> Option<&[u8]> {
    QUOTES.iter().find_map(|(start, end)| {
        let inner = text.strip_prefix(start.as_bytes())?;
        inner.strip_suffix(end.as_bytes())
    })
}

fn quotes(secret: &[u8], add: &mut Add<'_>) {
    if let Some(inner) = unquoted(secret) {
        let what = "The secret given here has quotes around it";
        add(SecretQuotes, what, inner);
    }
    for (start, end) in QUOTES {
        let quoted = joined(start.as_bytes(), &joined(secret, end.as_bytes()));
        let what = "The signer's secret has quotes around it";
        add(SecretQuotes, what, &quoted);
    }
}

/// Removes a prefix, such as the variable's name in a settings file or a prefix that another
/// sender's format requires.
fn label(secret: &[u8], add: &mut Add<'_>) {
    let line = secret.strip_prefix(b"export ").unwrap_or(secret);
    let line = line.trim_ascii();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let name = line.iter().take_while(|byte| is_name(byte)).count();
    let rest = line[name..].trim_ascii_start();
    if name > 0 && rest.first().is_some_and(|byte| b"=:,".contains(byte)) {
        let value = rest[1..].trim_ascii();
        let what = "The secret given here has something before it";
        add(SecretLabel, what, unquoted(value).unwrap_or(value));
    }
    for label in [&b"v1,"[..], b"SOUNDHASH_WEBHOOK_SECRET="] {
        let what = "The signer's secret has something before it";
        add(SecretLabel, what, &joined(label, secret));
    }
}

fn prefix(secret: &[u8], add: &mut Add<'_>) {
    if let Some(rest) = secret.strip_prefix(PREFIX) {
        let what = "The signer's secret lacks the `whsec_` of the one given here";
        add(SecretPrefix, what, rest);
    } else {
        let what = "The secret given here lacks the `whsec_` of the signer's";
        add(SecretPrefix, what, &joined(PREFIX, secret));
    }
}

fn base64(secret: &[u8], add: &mut Add<'_>) {
    let without_prefix = secret.strip_prefix(PREFIX);
    for text in [Some(secret), without_prefix].into_iter().flatten() {
        for alphabet in [STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT] {
            if let Ok(bytes) = alphabet.decode(text).map(Zeroizing::new) {
                let what = "The signer decoded the secret from base64";
                add(SecretBase64, what, &bytes);
            }
        }
    }
    for alphabet in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let text = Zeroizing::new(alphabet.encode(secret));
        let what = "The secret given here was decoded from base64, and the signer's was not";
        add(SecretBase64, what, text.as_bytes());
        add(SecretBase64, what, &joined(PREFIX, text.as_bytes()));
    }
}

fn utf16(secret: &[u8], add: &mut Add<'_>) {
    if let Some(text) = from_utf16(secret).map(Zeroizing::new) {
        let what = "The secret given here is in UTF-16";
        add(SecretUtf16, what, text.trim().as_bytes());
    }
    for encoded in to_utf16(secret).map(Zeroizing::new) {
        add(SecretUtf16, "The signer's secret is in UTF-16", &encoded);
    }
}

fn joined(a: &[u8], b: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([a, b].concat())
}
