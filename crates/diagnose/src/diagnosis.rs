//! The result of a diagnosis, and the text that explains it.

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

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $cure:literal)*) => {
        /// The kinds of [`Diagnosis`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DiagnosisKind {
            $($(#[$doc])* $kind,)*
        }

        impl DiagnosisKind {
            /// Returns the fix, phrased as the end of a sentence.
            const fn cure(self) -> &'static str {
                match self {
                    $(Self::$kind => $cure,)*
                }
            }
        }
    };
}

// The kinds of diagnosis, each with advice on how to fix the mistake.
kinds! {
    /// The signature matches this body under the first secret.
    Right ""
    /// No secret was given, or all given secrets are empty.
    NoSecret "use the secret that SoundHash showed for this endpoint"
    /// The header is empty.
    MissingSignature "check whether a proxy drops `X-Webhook-Signature`, and whether the request \
        came from SoundHash at all"
    /// The header does not contain a signature.
    MalformedSignature "SoundHash sends exactly 64 hexadecimal digits, so check what else signs \
        the request or changes the header"
    /// The signature has whitespace around it.
    SignatureWhitespace "send only the 64 digits"
    /// The signature has quotes around it.
    SignatureQuotes "send only the 64 digits"
    /// The header has more than one signature.
    SeveralSignatures "send one header with one value, made with the current secret"
    /// The header has a prefix before the signature, such as `sha256=` or `v1=`.
    SignaturePrefix "send only the 64 digits, because SoundHash's header has no prefix"
    /// The signature is base64 instead of hexadecimal digits.
    SignatureBase64 "write the 32 bytes as hexadecimal digits, with `hexdigest` in Python or \
        `digest('hex')` in Node"
    /// The signature was encoded as hexadecimal digits twice.
    SignatureHexTwice "encode the 32 bytes only once: `hexdigest` and `digest('hex')` already \
        return digits"
    /// The signature matches under a secret other than the first, as happens during a rotation.
    PreviousSecret "accept it with `previous_secret` as well, until SoundHash signs with the \
        first one only"
    /// The secret starts or ends with whitespace or a byte order mark, on your side or on the
    /// signer's.
    SecretWhitespace "remove it on both sides, read the secret with `Secret::from_env`, and write \
        files with `printf %s` instead of `echo`"
    /// The secret has quotes around it, on your side or on the signer's.
    SecretQuotes "remove them, because `.env` files and container settings do not all strip \
        quotes"
    /// The secret has a prefix that does not belong to it, such as `NAME=` or `v1,`, on your side
    /// or on the signer's.
    SecretLabel "give only the secret, as SoundHash showed it, without a name or a version before \
        it"
    /// The secret has invisible characters, such as a zero-width space.
    SecretInvisible "remove them by typing the secret again, or copy it from SoundHash and not \
        from a document or a chat"
    /// The secret lacks its `whsec_` prefix, on your side or on the signer's.
    SecretPrefix "use the secret as SoundHash showed it, because the prefix is part of the key"
    /// The secret was decoded from base64, on your side or on the signer's.
    SecretBase64 "use the secret's text as SoundHash showed it, without decoding it"
    /// The secret is in UTF-16, on your side or on the signer's.
    SecretUtf16 "use the secret's UTF-8 bytes, `Encoding.UTF8` in .NET and `-Encoding utf8` in \
        PowerShell"
    /// The signature was made with SHA-1, with SHA-512, or without HMAC.
    WrongHash "use HMAC with SHA-256 and the secret as the key"
    /// The signer used the body as the key and the secret as the message.
    SwappedArguments "pass the secret as the key and the body as the message"
    /// The body is the same JSON in another layout.
    Reserialized "verify the bytes as they arrived, with SoundHashWebhookLayer outside of \
        everything that parses JSON, and without a proxy that rewrites bodies"
    /// The body is the same JSON with its numbers written differently, such as `85` for `85.0`.
    NumbersRewritten "verify the bytes as they arrived, because parsing JSON and writing it again \
        changes numbers, as `JSON.stringify` makes `85` of `85.0`"
    /// The body is JSON inside a JSON string, on your side or on the signer's.
    EncodedTwice "send and verify the JSON itself, and look for a second `JSON.stringify` or \
        `json.dumps`"
    /// The body is form-encoded, on your side or on the signer's.
    FormEncoded "send and verify the JSON itself, with the content type `application/json` and \
        outside of what parses forms"
    /// The body has typographic quotes.
    CurlyQuotes "copy the body from the request and not from a document or a chat, which replace \
        quotes"
    /// The body is the same JSON with its keys sorted, on your side or on the signer's.
    SortedKeys "sign and verify the bytes as they are sent, because parsing JSON and writing it \
        again can sort its keys"
    /// The body's line breaks were removed, on your side or on the signer's.
    NewlinesRemoved "send files with `curl --data-binary @file`, because `-d @file` removes line \
        breaks"
    /// The body has different line endings, or a different number of line breaks at its end.
    LineEnd "keep the body byte for byte, save it without an editor, and send it with `curl \
        --data-binary`"
    /// The body starts with a byte order mark, on your side or on the signer's.
    ByteOrderMark "save the file as UTF-8 without a byte order mark, `utf8NoBOM` in PowerShell"
    /// The body is in UTF-16, on your side or on the signer's.
    BodyUtf16 "sign and send UTF-8, `Encoding.UTF8` in .NET and `-Encoding utf8` in PowerShell"
    /// The body is compressed, on your side or on the signer's.
    Compressed "verify the bytes that SoundHash sent, with SoundHashWebhookLayer outside of what \
        decompresses requests, and without a proxy that compresses them"
    /// The signer prepended a timestamp to the body.
    TimestampSigned "sign only the body, because SoundHash does not sign a timestamp"
    /// The signer signed only the event's `data` instead of the whole body.
    OnlyDataSigned "sign and verify the whole body, with its envelope"
    /// The body was truncated, either on its way to you or before it was signed.
    Truncated "compare its length with the `Content-Length` that was sent, and look for a buffer \
        or a size limit that cuts the body off"
    /// The body is empty, on your side or on the signer's.
    EmptyBody "put SoundHashWebhookLayer outside of what reads the body before it is verified, \
        such as a middleware, an extractor or a logger, and check for redirects, which drop the \
        body"
    /// None of the common mistakes explains the signature.
    Unknown "either the secret is wrong, or the body was changed in a way that cannot be undone, so \
        compare the secret with the endpoint's secret, and the length of the body with \
        the `Content-Length` that SoundHash sent"
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

    /// Returns the index of the secret that explains the signature, among the secrets given, or
    /// `None`.
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
                 the request, it has another secret, or other bytes arrive there: compare its \
                 secret and the body that it receives with these.",
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
    /// A sentence that says what is wrong, without the final period.
    what: Cow<'static, str>,
}

impl DiagnosisKind {
    pub(super) fn mistake(self, what: impl Into<Cow<'static, str>>) -> Mistake {
        let what = what.into();
        Mistake { kind: self, what }
    }
}
