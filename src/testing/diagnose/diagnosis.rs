use std::fmt;

/// What [`diagnose`](super::diagnose) found.
///
/// [`Display`](fmt::Display) says what is wrong and what cures it, one line for each mistake.
/// It never shows a secret, a body or a signature, and can be pasted anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    mistakes: Vec<Mistake>,
    secret: Option<usize>,
}

/// The kinds of [`Diagnosis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagnosisKind {
    /// Nothing is wrong: the first secret made this signature of this body.
    Right,
    /// No secret was given, or only empty ones.
    NoSecret,
    /// The header has no value.
    MissingSignature,
    /// Nothing in the header is a signature.
    MalformedSignature,
    /// White space around the signature.
    SignatureWhitespace,
    /// More than one signature.
    SeveralSignatures,
    /// Something beside the signature, such as `sha256=` or `v1=`.
    SignaturePrefix,
    /// A signature in base64 instead of hexadecimal digits.
    SignatureBase64,
    /// Made with another than the first of the secrets.
    PreviousSecret,
    /// The secret has white space at an end, here or at the signer's.
    SecretWhitespace,
    /// The secret's `whsec_` is missing, here or at the signer's.
    SecretPrefix,
    /// The secret was decoded from base64, here or at the signer's.
    SecretBase64,
    /// The body is the same JSON in other bytes.
    Reserialized,
    /// The body's line ends differ, most often the last one.
    LineEnd,
    /// The body is empty, here or at the signer's.
    EmptyBody,
    /// None of the usual mistakes explains it.
    Unknown,
}

impl Diagnosis {
    pub(super) fn new(mistakes: Vec<Mistake>, secret: Option<usize>) -> Self {
        Self { mistakes, secret }
    }

    /// What is wrong; the first mistake, where several came together.
    #[must_use]
    pub fn kind(&self) -> DiagnosisKind {
        self.kinds().next().unwrap_or(DiagnosisKind::Right)
    }

    /// All mistakes: of the header, then of the secret, then of the body. None if it is
    /// right.
    pub fn kinds(&self) -> impl Iterator<Item = DiagnosisKind> {
        self.mistakes.iter().map(|mistake| mistake.kind)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Which of the given secrets explains the signature, from 0; `None` if none does.
    #[must_use]
    pub fn secret(&self) -> Option<usize> {
        self.secret
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_right() {
            return f.write_str("The signature is that of this body under the first secret.");
        }
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{} {}", mistake.what, mistake.kind.cure())?;
        }
        match self.secret {
            Some(index) if index > 0 => write!(f, "\n(It is secret {} of those given.)", index + 1),
            _ => Ok(()),
        }
    }
}

/// One thing that was done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) kind: DiagnosisKind,
    /// What exactly, as a sentence.
    pub(super) what: &'static str,
}

impl DiagnosisKind {
    pub(super) fn mistake(self, what: &'static str) -> Mistake {
        Mistake { kind: self, what }
    }

    fn cure(self) -> &'static str {
        match self {
            Self::Right => "",
            Self::NoSecret => "Give the secret that SoundHash showed for this endpoint.",
            Self::MissingSignature => {
                "Look whether a proxy drops `X-Webhook-Signature`, and whether the request came \
                 from SoundHash at all."
            }
            Self::MalformedSignature => {
                "SoundHash sends exactly 64 hexadecimal digits; look who else signs or changes \
                 the header."
            }
            Self::SignatureWhitespace => "Send the 64 digits alone.",
            Self::SeveralSignatures => {
                "Send one header with one value, signed with the secret that is current."
            }
            Self::SignaturePrefix => "Send the 64 digits alone: SoundHash's header has no prefix.",
            Self::SignatureBase64 => {
                "Print the 32 bytes as hexadecimal digits (`hexdigest` in Python, \
                 `digest('hex')` in Node)."
            }
            Self::PreviousSecret => {
                "Give it to the layer as well, with `previous_secret`, until SoundHash signs \
                 with the first one only."
            }
            Self::SecretWhitespace => {
                "Use the secret without white space, on both sides: `Secret::from_env` refuses \
                 it; write files with `printf %s`, and not with `echo`."
            }
            Self::SecretPrefix => {
                "The prefix is part of the key: use the secret as SoundHash showed it."
            }
            Self::SecretBase64 => {
                "The key is the secret's text: use it as SoundHash showed it, decode nothing."
            }
            Self::Reserialized => {
                "Verify the bytes as they arrived, before anything parses them: put \
                 SoundHashWebhookLayer outside of whatever reads JSON, and have no proxy \
                 rewrite the body."
            }
            Self::LineEnd => {
                "Keep the body byte for byte: save it without an editor, and send it with \
                 `curl --data-binary`, and not with `-d`."
            }
            Self::EmptyBody => {
                "Something read the body before it was hashed: a middleware, an extractor, a \
                 logger, or a redirect that dropped it. Put SoundHashWebhookLayer outside of it."
            }
            Self::Unknown => {
                "It is another secret (that of another endpoint, perhaps), or the body was \
                 changed in a way that cannot be undone: keys sorted, numbers rewritten, \
                 decompressed. Compare its length with the Content-Length that SoundHash sent."
            }
        }
    }
}
