//! The secrets of an endpoint and the MAC that runs over a body.

use std::{env, error, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::signature::{Signature, SignatureError};

type HmacSha256 = Hmac<Sha256>;

/// The secret of a webhook endpoint: the key of its HMAC-SHA256 (RFC 2104).
///
/// The key is the secret's bytes, whole. A `whsec_` prefix belongs to it: nothing is
/// stripped or base64-decoded, as other vendors' libraries do.
///
/// What is kept is the HMAC's keyed state, computed once; cloning a `Secret` shares it.
/// It is wiped from memory when the last clone is dropped, and
/// [`Debug`](fmt::Debug) shows nothing of it.
///
/// # Verifying without axum
///
/// In a queue consumer, a lambda or another framework, this is all that is needed:
///
/// ```
/// use http::HeaderValue;
/// use soundhash_webhook::{Event, Secret};
///
/// # fn receive(header: &HeaderValue, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new("whsec_test");
/// secret.verify(header, body)?;
/// let event = Event::from_slice(body)?;
/// # Ok(()) }
/// # let body = br#"{"event":"video.processed","data":{"title":"Test Video"}}"#;
/// # let signature = Secret::new("whsec_test").sign(body).to_string();
/// # receive(&HeaderValue::try_from(signature).unwrap(), body).unwrap();
/// ```
#[derive(Clone)]
pub struct Secret(Arc<HmacSha256>);

impl Secret {
    /// Makes a secret of `key`'s bytes.
    ///
    /// The caller's copy of the key is the caller's to wipe.
    ///
    /// # Panics
    ///
    /// If `key` is empty: everybody could sign with it. Use [`Secret::try_from`] or
    /// [`Secret::from_env`] for a value that may be empty at run time.
    #[must_use]
    #[track_caller]
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        match Self::from_key(key.as_ref()) {
            Ok(secret) => secret,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads the secret from the environment variable `name`.
    ///
    /// # Errors
    ///
    /// If the variable is not set, empty, or not Unicode, and if its value begins or ends
    /// with white space: a line end that a file or a shell left behind is the usual cause
    /// of "every signature is wrong". Where the white space is really part of the secret,
    /// use [`Secret::new`].
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let value = match env::var(name) {
            Ok(value) => Zeroizing::new(value),
            Err(env::VarError::NotPresent) => {
                return Err(SecretError::new(SecretErrorKind::NotSet));
            }
            Err(env::VarError::NotUnicode(_)) => {
                return Err(SecretError::new(SecretErrorKind::NotUnicode));
            }
        };
        if value.trim().len() != value.len() {
            return Err(SecretError::new(SecretErrorKind::SurroundingWhitespace));
        }
        Self::from_key(value.as_bytes())
    }

    fn from_key(key: &[u8]) -> Result<Self, SecretError> {
        if key.is_empty() {
            return Err(SecretError::new(SecretErrorKind::Empty));
        }
        match HmacSha256::new_from_slice(key) {
            Ok(keyed) => Ok(Self(Arc::new(keyed))),
            // RFC 2104 takes keys of any length, so the crate never answers this.
            Err(_) => Err(SecretError::new(SecretErrorKind::Empty)),
        }
    }

    /// Signs `body` as SoundHash does.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Signature {
        let mut mac = self.keyed();
        mac.update(body);
        tag(mac)
    }

    /// Checks that `signature`, the value of the `X-Webhook-Signature` header, is that of
    /// `body`, in constant time.
    ///
    /// # Errors
    ///
    /// If `signature` is not 64 hexadecimal digits, or not the signature of `body` under
    /// this secret.
    pub fn verify(&self, signature: &HeaderValue, body: &[u8]) -> Result<(), SignatureError> {
        if Signature::try_from(signature)? == self.sign(body) {
            Ok(())
        } else {
            Err(SignatureError::mismatch())
        }
    }

    /// The HMAC with the key in it and no message yet. Keying costs two SHA-256 blocks, a
    /// third of the work on a 256-byte event; a copy of the keyed state costs none.
    fn keyed(&self) -> HmacSha256 {
        HmacSha256::clone(&self.0)
    }
}

fn tag(mac: HmacSha256) -> Signature {
    Signature::from_tag(mac.finalize().into_bytes().into())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A cheap clone.
impl From<&Secret> for Secret {
    fn from(secret: &Secret) -> Self {
        secret.clone()
    }
}

/// The same as [`Secret::new`], with its panic.
impl From<&str> for Secret {
    #[track_caller]
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

/// The same as [`Secret::new`], with its panic.
impl From<&String> for Secret {
    #[track_caller]
    fn from(key: &String) -> Self {
        Self::new(key)
    }
}

/// The same as [`Secret::new`], with its panic.
impl From<&[u8]> for Secret {
    #[track_caller]
    fn from(key: &[u8]) -> Self {
        Self::new(key)
    }
}

/// Takes the string and wipes it. An empty one is refused.
impl TryFrom<String> for Secret {
    type Error = SecretError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::from_key(Zeroizing::new(key).as_bytes())
    }
}

/// The secrets that are valid for an endpoint now: the current one and, during a
/// rotation, up to three previous ones.
///
/// Every one of them is checked for every request, always all, so that the time taken
/// does not tell which one matched.
///
/// ```
/// use soundhash_webhook::Secrets;
///
/// let secrets = Secrets::new("whsec_new").previous("whsec_old");
/// assert_eq!(secrets.len(), 2);
/// ```
#[derive(Clone)]
pub struct Secrets {
    current: Secret,
    previous: Arc<[Secret]>,
    endpoint: Option<Arc<str>>,
}

impl Secrets {
    /// The most secrets that can be valid at once.
    pub const MAX: usize = 4;

    /// One secret, the current one.
    #[must_use]
    #[track_caller]
    pub fn new(current: impl Into<Secret>) -> Self {
        Self {
            current: current.into(),
            previous: Arc::new([]),
            endpoint: None,
        }
    }

    /// Adds a secret that is still accepted, after those that are there already.
    ///
    /// # Panics
    ///
    /// If there would be more than [`Secrets::MAX`]. Use [`Secrets::try_from`] for a list
    /// whose length is known at run time only.
    #[must_use]
    #[track_caller]
    pub fn previous(self, secret: impl Into<Secret>) -> Self {
        assert!(self.len() < Self::MAX, "{}", SecretErrorKind::TooMany);
        let previous = self.previous.iter().cloned().chain([secret.into()]);
        Self {
            previous: previous.collect(),
            ..self
        }
    }

    /// Names the endpoint, or the tenant, that these are the secrets of.
    ///
    /// A verified delivery carries the name as
    /// [`Delivery::endpoint`](crate::Delivery::endpoint): unlike the head that the secrets
    /// were looked up by, it is proven by the signature.
    #[must_use]
    pub fn endpoint(mut self, name: impl Into<Arc<str>>) -> Self {
        self.endpoint = Some(name.into());
        self
    }

    pub(crate) fn endpoint_name(&self) -> Option<Arc<str>> {
        self.endpoint.clone()
    }

    /// How many secrets are valid: 1 to [`Secrets::MAX`].
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is always a current secret"
    )]
    pub fn len(&self) -> usize {
        1 + self.previous.len()
    }

    /// Starts to check a body under every secret at once.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier {
            current: self.current.keyed(),
            previous: self.previous.iter().map(Secret::keyed).collect(),
        }
    }
}

impl From<Secret> for Secrets {
    fn from(current: Secret) -> Self {
        Self::new(current)
    }
}

/// The first is the current one.
impl TryFrom<Vec<Secret>> for Secrets {
    type Error = SecretError;

    fn try_from(secrets: Vec<Secret>) -> Result<Self, Self::Error> {
        if secrets.len() > Self::MAX {
            return Err(SecretError::new(SecretErrorKind::TooMany));
        }
        let mut secrets = secrets.into_iter();
        let current = secrets
            .next()
            .ok_or(SecretError::new(SecretErrorKind::Empty))?;
        Ok(Self {
            current,
            previous: secrets.collect(),
            endpoint: None,
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} of {})", self.len(), Self::MAX)
    }
}

/// A body being hashed under every valid secret while it arrives.
pub(crate) struct Verifier {
    current: HmacSha256,
    /// Does not allocate while there is only one secret.
    previous: Vec<HmacSha256>,
}

impl Verifier {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
        for mac in &mut self.previous {
            mac.update(bytes);
        }
    }

    /// Which secret, 0 being the current one, signed what was hashed.
    ///
    /// Every tag is computed and compared, and the index is selected without a branch, so
    /// that nothing about which secret or which byte leaks.
    pub(crate) fn verify(self, signature: &Signature) -> Option<usize> {
        let mut found = Choice::from(0);
        let mut index = 0;
        for (mac, i) in [self.current].into_iter().chain(self.previous).zip(0u8..) {
            let equal = tag(mac).ct_eq(signature);
            index.conditional_assign(&i, equal & !found);
            found |= equal;
        }
        bool::from(found).then_some(index.into())
    }
}

/// Why a value cannot be a [`Secret`] or a list of them [`Secrets`]. It never shows the
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
}

/// The kinds of [`SecretError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// No byte, or no secret at all: everybody could sign.
    Empty,
    /// The environment variable is not set.
    NotSet,
    /// The environment variable is not Unicode.
    NotUnicode,
    /// White space at the beginning or the end.
    SurroundingWhitespace,
    /// More than [`Secrets::MAX`] secrets.
    TooMany,
}

impl SecretError {
    const fn new(kind: SecretErrorKind) -> Self {
        Self { kind }
    }

    /// Which of them it is.
    #[must_use]
    pub const fn kind(&self) -> SecretErrorKind {
        self.kind
    }
}

impl fmt::Display for SecretErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "secret is empty",
            Self::NotSet => "secret is not set",
            Self::NotUnicode => "secret is not Unicode",
            Self::SurroundingWhitespace => "secret begins or ends with white space",
            Self::TooMany => "more than four secrets",
        })
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl error::Error for SecretError {}
