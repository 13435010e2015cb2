use std::{env, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{SecretError, SecretErrorKind};
use crate::signature::{Signature, SignatureError};

pub(super) type HmacSha256 = Hmac<Sha256>;

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
    /// use [`Secret::new`]. The error names the variable, and never the value.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        Self::read_env(name).map_err(|error| error.of_variable(name))
    }

    fn read_env(name: &str) -> Result<Self, SecretError> {
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
    #[inline]
    pub(super) fn keyed(&self) -> HmacSha256 {
        HmacSha256::clone(&self.0)
    }
}

#[inline]
pub(super) fn tag(mac: HmacSha256) -> Signature {
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
