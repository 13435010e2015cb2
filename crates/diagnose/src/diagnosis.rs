//! The result of a diagnosis, in words.

use std::{borrow::Cow, fmt};

/// The result of [`diagnose`](super::diagnose).
///
/// [`Display`](fmt::Display) writes one line for each mistake: what is wrong, and how to fix it.
/// The text never shows a secret, a body or a signature, so you can paste it anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    mistakes: Vec<Mistake>,
    secret: Option<usize>,
}

/// The kinds of [`Diagnosis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagnosisKind {
    /// The signature matches this body under the first secret.
    Right,
    /// No secret was given, or all given secrets are empty.
    NoSecret,
    /// The header is empty.
    MissingSignature,
    /// The header does not contain a signature.
    MalformedSignature,
    /// The signature has whitespace around it.
    SignatureWhitespace,
    /// The signature has quotes around it.
    SignatureQuotes,
    /// The header has more than one signature.
    SeveralSignatures,
    /// The header has a prefix before the signature, such as `sha256=` or `v1=`.
    SignaturePrefix,
    /// The signature is in base64 instead of hexadecimal digits.
    SignatureBase64,
    /// The signature's hexadecimal digits were encoded as hexadecimal digits again.
    SignatureHexTwice,
    /// The signature matches under a secret other than the first, as during a rotation.
    PreviousSecret,
    /// The secret has whitespace or a byte order mark at an end, on your side or on the signer's.
    SecretWhitespace,
    /// The secret has quotes around it, on your side or on the signer's.
    SecretQuotes,
    /// The secret has a prefix that does not belong to it, such as `NAME=` or `v1,`, on your side
    /// or on the signer's.
    SecretLabel,
    /// The secret has invisible characters, such as a zero-width space.
    SecretInvisible,
    /// The secret lacks its `whsec_`, on your side or on the signer's.
    SecretPrefix,
    /// The secret was decoded from base64, on your side or on the signer's.
    SecretBase64,
    /// The secret is in UTF-16, on your side or on the signer's.
    SecretUtf16,
    /// The signature was made with SHA-1, with SHA-512, or without HMAC.
    WrongHash,
    /// The signer used the body as the key and the secret as the message.
    SwappedArguments,
    /// The body is the same JSON in another layout.
    Reserialized,
    /// The body is the same JSON with its numbers written in another way, such as `85` for `85.0`.
    NumbersRewritten,
    /// The body is JSON in a string of JSON, on your side or on the signer's.
    EncodedTwice,
    /// The body is encoded as a form, on your side or on the signer's.
    FormEncoded,
    /// The body has typographic quotes.
    CurlyQuotes,
    /// The body is the same JSON with its keys sorted, on your side or on the signer's.
    SortedKeys,
    /// The line breaks of the body were removed, on your side or on the signer's.
    NewlinesRemoved,
    /// The body has different line ends, usually only at its end.
    LineEnd,
    /// The body starts with a byte order mark, on your side or on the signer's.
    ByteOrderMark,
    /// The body is in UTF-16, on your side or on the signer's.
    BodyUtf16,
    /// The body is compressed, on your side or on the signer's.
    Compressed,
    /// The signer put a timestamp before the body.
    TimestampSigned,
    /// The signer signed the event's `data` and not the whole body.
    OnlyDataSigned,
    /// The body was truncated, either here or before it was signed.
    Truncated,
    /// The body is empty, on your side or on the signer's.
    EmptyBody,
    /// None of the common mistakes explains the signature.
    Unknown,
}

impl Diagnosis {
    pub(super) fn new(mistakes: Vec<Mistake>, secret: Option<usize>) -> Self {
        Self { mistakes, secret }
    }

    /// Returns the kind of the first mistake, or [`DiagnosisKind::Right`].
    #[must_use]
    pub fn kind(&self) -> DiagnosisKind {
        self.kinds().next().unwrap_or(DiagnosisKind::Right)
    }

    /// Returns the kinds of all mistakes: first in the header, then in the secret, then in the
    /// body. The iterator is empty if the signature matches.
    pub fn kinds(&self) -> impl Iterator<Item = DiagnosisKind> {
        self.mistakes.iter().map(|mistake| mistake.kind)
    }

    /// Returns `true` if the signature matches.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Returns the index of the given secret that explains the signature, or `None`.
    #[must_use]
    pub fn secret(&self) -> Option<usize> {
        self.secret
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_right() {
            return f.write_str(
                "The signature matches this body under the first secret. If a server rejects \
                 the request, other bytes arrive there: compare the body that it receives with \
                 this one.",
            );
        }
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {}.", mistake.what, mistake.kind.cure())?;
        }
        match self.secret {
            Some(index) if index > 0 => {
                write!(f, "\n(Secret {} of those given matches.)", index + 1)
            }
            _ => Ok(()),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) kind: DiagnosisKind,
    /// A sentence that says what is wrong, without its full stop.
    what: Cow<'static, str>,
}

impl DiagnosisKind {
    pub(super) fn mistake(self, what: impl Into<Cow<'static, str>>) -> Mistake {
        let what = what.into();
        Mistake { kind: self, what }
    }

    /// Returns what to do, as the end of a sentence.
    fn cure(self) -> &'static str {
        match self {
            Self::Right => "",
            Self::NoSecret => "use the secret that SoundHash showed for this endpoint",
            Self::MissingSignature => {
                "check whether a proxy drops `X-Webhook-Signature`, and whether the request \
                 came from SoundHash at all"
            }
            Self::MalformedSignature => {
                "SoundHash sends exactly 64 hexadecimal digits, so check what else signs the \
                 request or changes the header"
            }
            Self::SignatureWhitespace | Self::SignatureQuotes => "send only the 64 digits",
            Self::SeveralSignatures => {
                "send one header with one value, made with the current secret"
            }
            Self::SignaturePrefix => {
                "send only the 64 digits, because SoundHash's header has no prefix"
            }
            Self::SignatureBase64 => {
                "write the 32 bytes as hexadecimal digits, with `hexdigest` in Python or \
                 `digest('hex')` in Node"
            }
            Self::SignatureHexTwice => {
                "encode the 32 bytes only once: `hexdigest` and `digest('hex')` already return \
                 digits"
            }
            Self::PreviousSecret => {
                "accept it with `previous_secret` as well, until SoundHash signs with the first \
                 one only"
            }
            Self::SecretWhitespace => {
                "remove it on both sides, read the secret with `Secret::from_env`, and write \
                 files with `printf %s` instead of `echo`"
            }
            Self::SecretQuotes => {
                "remove them, because `.env` files and container settings do not all strip quotes"
            }
            Self::SecretLabel => {
                "give only the secret, as SoundHash showed it, without a name or a version \
                 before it"
            }
            Self::SecretInvisible => {
                "remove them by typing the secret again, or copy it from SoundHash and not from \
                 a document or a chat"
            }
            Self::SecretPrefix => {
                "use the secret as SoundHash showed it, because the prefix is part of the key"
            }
            Self::SecretBase64 => {
                "use the secret's text as SoundHash showed it, without decoding it"
            }
            Self::SecretUtf16 => {
                "use the secret's UTF-8 bytes, `Encoding.UTF8` in .NET and `-Encoding utf8` in \
                 PowerShell"
            }
            _ => self.cure_of_body(),
        }
    }

    /// Returns what to do about the hash or the body.
    fn cure_of_body(self) -> &'static str {
        match self {
            Self::WrongHash => "use HMAC with SHA-256 and the secret as the key",
            Self::SwappedArguments => "pass the secret as the key and the body as the message",
            Self::NumbersRewritten => {
                "verify the bytes as they arrived, because parsing JSON and writing it again \
                 changes numbers, as `JSON.stringify` makes `85` of `85.0`"
            }
            Self::EncodedTwice => {
                "send and verify the JSON itself, and look for a second `JSON.stringify` or \
                 `json.dumps`"
            }
            Self::FormEncoded => {
                "send and verify the JSON itself, with the content type `application/json` and \
                 outside of what parses forms"
            }
            Self::CurlyQuotes => {
                "copy the body from the request and not from a document or a chat, which replace \
                 quotes"
            }
            Self::Reserialized => {
                "verify the bytes as they arrived, with SoundHashWebhookLayer outside of \
                 everything that parses JSON, and without a proxy that rewrites bodies"
            }
            Self::SortedKeys => {
                "sign and verify the bytes as they are sent, because parsing JSON and writing it \
                 again can sort its keys"
            }
            Self::NewlinesRemoved => {
                "send files with `curl --data-binary @file`, because `-d @file` removes line \
                 breaks"
            }
            Self::LineEnd => {
                "keep the body byte for byte, save it without an editor, and send it with \
                 `curl --data-binary`"
            }
            Self::ByteOrderMark => {
                "save the file as UTF-8 without a byte order mark, `utf8NoBOM` in PowerShell"
            }
            Self::BodyUtf16 => {
                "sign and send UTF-8, `Encoding.UTF8` in .NET and `-Encoding utf8` in PowerShell"
            }
            Self::Compressed => {
                "verify the bytes that SoundHash sent, with SoundHashWebhookLayer outside of what \
                 decompresses requests, and without a proxy that compresses them"
            }
            Self::TimestampSigned => {
                "sign only the body, because SoundHash does not sign a timestamp"
            }
            Self::OnlyDataSigned => "sign and verify the whole body, with its envelope",
            Self::Truncated => {
                "compare its length with the `Content-Length` that was sent, and look for a \
                 buffer or a size limit that cuts the body off"
            }
            Self::EmptyBody => {
                "put SoundHashWebhookLayer outside of what reads the body before it is verified, \
                 such as a middleware, an extractor or a logger, and check for redirects, which \
                 drop the body"
            }
            _ => {
                "either the secret is another one, or the body was changed in a way that cannot \
                 be undone, so compare the secret with that of the endpoint, and the length of the \
                 body with the `Content-Length` that SoundHash sent"
            }
        }
    }
}
