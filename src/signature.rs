//! An HMAC-SHA256 signature, parsed from the signature header and compared in constant time.

use std::{array, error, fmt, str::FromStr};

use http::{HeaderName, HeaderValue};
use subtle::{Choice, ConstantTimeEq};

/// The name of the header that carries the signature: `x-webhook-signature`.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("x-webhook-signature");

const TAG_LEN: usize = 32;

/// An HMAC-SHA256 signature, as SoundHash sends it in the [`X-Webhook-Signature`](SIGNATURE_HEADER)
/// header.
///
/// A signature is parsed from exactly 64 hexadecimal digits in upper or lower case, and printed in
/// lower case. Prefixes, second values and whitespace are errors.
///
/// `==` compares two signatures in constant time. `Ord` and `Hash` are not implemented, because
/// they cannot run in constant time. [`Debug`](fmt::Debug) does not show the digits, because anyone
/// who reads a body and its signature in a log could replay the request.
///
/// ```
/// use soundhash_webhook::{Secret, Signature};
///
/// let signature = Secret::new("whsec_test").sign(b"{}");
/// let parsed: Signature = signature.to_string().parse()?;
/// assert_eq!(parsed, signature);
/// # Ok::<(), soundhash_webhook::SignatureError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Signature([u8; TAG_LEN]);

impl Signature {
    pub(crate) const fn from_tag(tag: [u8; TAG_LEN]) -> Self {
        Self(tag)
    }

    /// Compares in constant time, and returns a result that can be combined without a branch.
    pub(crate) fn ct_eq(&self, other: &Self) -> Choice {
        self.words().ct_eq(&other.words())
    }

    /// Returns the first word, to tell deliveries apart. Only for signatures that have been verified,
    /// because lookups do not run in constant time.
    pub(crate) fn first_word(&self) -> u64 {
        self.words()[0]
    }

    /// Returns the signature as four words, which are faster to compare than 32 bytes.
    fn words(&self) -> [u64; TAG_LEN / 8] {
        let (words, _) = self.0.as_chunks();
        array::from_fn(|i| u64::from_ne_bytes(words[i]))
    }

    /// Parses hexadecimal digits. Takes bytes, because a header value need not be UTF-8.
    fn from_hex(digits: &[u8]) -> Result<Self, SignatureError> {
        let mut tag = [0; TAG_LEN];
        match base16ct::mixed::decode(digits, &mut tag) {
            Ok(decoded) if decoded.len() == TAG_LEN => Ok(Self(tag)),
            _ => Err(SignatureError(SignatureErrorKind::Malformed)),
        }
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(digits: &str) -> Result<Self, Self::Err> {
        Self::from_hex(digits.as_bytes())
    }
}

impl TryFrom<&HeaderValue> for Signature {
    type Error = SignatureError;

    fn try_from(value: &HeaderValue) -> Result<Self, Self::Error> {
        Self::from_hex(value.as_bytes())
    }
}

/// Writes the 64 digits in lower case, as SoundHash does.
impl From<Signature> for HeaderValue {
    fn from(signature: Signature) -> Self {
        Self::try_from(signature.to_string()).expect("hexadecimal digits are a header value")
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Signature {}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// The error from parsing or verifying a [`Signature`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureError(pub(crate) SignatureErrorKind);

/// The kinds of [`SignatureError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureErrorKind {
    /// The value is not exactly 64 hexadecimal digits.
    Malformed,
    /// The value is a well-formed signature, but it is not the signature of the body under the
    /// secret.
    Mismatch,
}

impl SignatureError {
    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> SignatureErrorKind {
        self.0
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            SignatureErrorKind::Malformed => "signature is not 64 hexadecimal digits",
            SignatureErrorKind::Mismatch => "signature does not match the body",
        })
    }
}

impl error::Error for SignatureError {}
