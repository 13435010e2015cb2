//! The secrets of an endpoint, which are used as HMAC keys and are never printed.

use std::{env, error, fmt, str::FromStr, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use subtle::ConditionallySelectable;
use zeroize::Zeroizing;

use crate::signature::{Signature, SignatureError, SignatureErrorKind};

type HmacSha256 = Hmac<Sha256>;

/// The secret of a webhook endpoint, used as the key of an HMAC-SHA256 (RFC 2104).
///
/// Every byte of the secret is part of the key, including a `whsec_` prefix. Unlike some other
/// vendors' libraries, this crate neither strips the prefix nor decodes base64.
///
/// A `Secret` holds the keyed state of the HMAC instead of the key. Clones share this state, and
/// dropping the last clone wipes it from memory. [`Debug`](fmt::Debug) shows neither.
///
/// # Verifying without axum
///
/// A queue consumer, a lambda or another framework can verify and parse a delivery with two calls:
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
pub struct Secret {
    keyed: Arc<HmacSha256>,
    label: Option<Arc<str>>,
}

impl Secret {
    /// Creates a secret from the bytes of `key`.
    ///
    /// The caller still owns `key` and is responsible for wiping it.
    ///
    /// # Panics
    ///
    /// Panics if `key` is empty, because anyone can sign with an empty key. For a value that can be
    /// empty at run time, use [`Secret::from_env`] or `Secret::try_from`.
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
    /// Returns an error if the variable is not set or is not Unicode, or if its value is not valid,
    /// as described for [`Secret::from_str`]. The error names the variable but never shows its
    /// value.
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
        value.parse()
    }

    fn from_key(key: &[u8]) -> Result<Self, SecretError> {
        if key.is_empty() {
            return Err(SecretError::new(SecretErrorKind::Empty));
        }
        match HmacSha256::new_from_slice(key) {
            Ok(keyed) => Ok(Self {
                keyed: Arc::new(keyed),
                label: None,
            }),
            // Unreachable, because HMAC accepts keys of any length.
            Err(_) => Err(SecretError::new(SecretErrorKind::Empty)),
        }
    }

    /// Labels the secret, for example with the month in which it was created.
    ///
    /// Unlike the index of a secret, its label does not change during a rotation. It appears in the
    /// log, in the metrics, in [`Debug`](fmt::Debug) and in
    /// [`Delivery::secret_label`](crate::Delivery::secret_label), so do not put anything
    /// confidential into it.
    ///
    /// ```
    /// use soundhash_webhook::{Secret, Secrets};
    ///
    /// let old = Secret::new("whsec_old").label("2026-05");
    /// let new = Secret::new("whsec_new").label("2026-11");
    /// let secrets = Secrets::new(new).previous(old);
    /// ```
    #[must_use]
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Returns the signature that SoundHash sends with `body`.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Signature {
        let mut mac = self.keyed();
        mac.update(body);
        tag(mac)
    }

    /// Verifies in constant time that `signature`, the value of the `X-Webhook-Signature` header,
    /// is the signature of `body`.
    ///
    /// # Errors
    ///
    /// Returns an error if `signature` is not 64 hexadecimal digits, or is not the signature
    /// of `body` under this secret.
    pub fn verify(&self, signature: &HeaderValue, body: &[u8]) -> Result<(), SignatureError> {
        if Signature::try_from(signature)? == self.sign(body) {
            Ok(())
        } else {
            Err(SignatureError(SignatureErrorKind::Mismatch))
        }
    }

    /// Returns a copy of the keyed state. Keying an HMAC again would hash two blocks, which is a
    /// third of the work for a 256-byte event.
    #[inline]
    fn keyed(&self) -> HmacSha256 {
        HmacSha256::clone(&self.keyed)
    }
}

/// Finds characters that were probably copied along with the secret by accident.
fn mistake(value: &str) -> Option<SecretErrorKind> {
    const QUOTES: [(char, char); 5] = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
    ];
    if value.trim().len() != value.len() {
        return Some(SecretErrorKind::SurroundingWhitespace);
    }
    if value.contains(is_invisible) {
        return Some(SecretErrorKind::InvisibleCharacter);
    }
    let is_quoted = |(open, close)| {
        let inner = value.strip_prefix(open);
        inner.is_some_and(|inner| inner.ends_with(close))
    };
    let is_quoted = QUOTES.into_iter().any(is_quoted);
    is_quoted.then_some(SecretErrorKind::Quoted)
}

/// Returns whether a character is a control character or a zero-width formatting character.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[inline]
fn tag(mac: HmacSha256) -> Signature {
    Signature::from_tag(mac.finalize().into_bytes().into())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "Secret({label:?})"),
            None => f.write_str("Secret(..)"),
        }
    }
}

/// Parses a secret that was copied, for example to a file.
impl FromStr for Secret {
    type Err = SecretError;

    /// # Errors
    ///
    /// Returns an error if the text is empty, starts or ends with whitespace, is in quotes, or
    /// contains invisible characters. Such characters are usually copied by accident from a file, a
    /// shell or a web page, and would make every signature wrong. If your secret really does
    /// contain them, use [`Secret::new`] or `Secret::try_from`.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        match mistake(text) {
            Some(mistake) => Err(SecretError::new(mistake)),
            None => Self::from_key(text.as_bytes()),
        }
    }
}

/// Returns an error if the string is empty.
impl TryFrom<&str> for Secret {
    type Error = SecretError;

    fn try_from(key: &str) -> Result<Self, Self::Error> {
        Self::from_key(key.as_bytes())
    }
}

/// Wipes the string after reading it. Returns an error if the string is empty.
impl TryFrom<String> for Secret {
    type Error = SecretError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::from_key(Zeroizing::new(key).as_bytes())
    }
}

/// Returns an error if the slice is empty.
impl TryFrom<&[u8]> for Secret {
    type Error = SecretError;

    fn try_from(key: &[u8]) -> Result<Self, Self::Error> {
        Self::from_key(key)
    }
}

/// Types that [`SoundHashWebhookLayer::new`](crate::SoundHashWebhookLayer::new), [`Secrets::new`]
/// and similar functions accept as a secret.
///
/// They are [`Secret`], `&Secret`, strings (`&str`, `String`, `&String`, `Zeroizing<String>`) and
/// bytes (`&[u8]`, `Vec<u8>`, `[u8; N]`, `&[u8; N]`, `Zeroizing<Vec<u8>>`). An owned string, vector
/// or array is wiped after it has been read. The trait is sealed.
///
/// ```
/// use soundhash_webhook::{IntoSecret, SoundHashWebhookLayer};
///
/// fn layer(secret: impl IntoSecret) -> SoundHashWebhookLayer {
///     SoundHashWebhookLayer::new(secret)
/// }
///
/// layer("whsec_test");
/// layer(String::from("whsec_test"));
/// ```
///
/// # Panics
///
/// Like [`Secret::new`], the functions that take an `IntoSecret` panic if a string or slice is
/// empty. To get an error instead, use [`Secret::from_env`] or `Secret::try_from`.
pub trait IntoSecret: sealed::Sealed {}

pub(crate) mod sealed {
    use super::Secret;

    /// The method of [`IntoSecret`](super::IntoSecret), which is not part of the public API.
    pub trait Sealed {
        #[track_caller]
        fn into_secret(self) -> Secret;
    }
}

macro_rules! into_secret {
    ($(<$($param:ident: usize)?> $key:ty, $into_secret:expr;)*) => {$(
        impl$(<const $param: usize>)? IntoSecret for $key {}

        impl$(<const $param: usize>)? sealed::Sealed for $key {
            #[track_caller]
            fn into_secret(self) -> Secret {
                $into_secret(self)
            }
        }
    )*};
}

into_secret! {
    <> Secret, |secret| secret;
    <> &Secret, Secret::clone;
    <> &str, Secret::new;
    <> &String, Secret::new;
    <> &[u8], Secret::new;
    <N: usize> &[u8; N], Secret::new;
    <> Zeroizing<String>, |key: Self| Secret::new(&*key);
    <> Zeroizing<Vec<u8>>, |key: Self| Secret::new(&*key);
    <> String, |key| Secret::new(&*Zeroizing::new(key));
    <> Vec<u8>, |key| Secret::new(&*Zeroizing::new(key));
    <N: usize> [u8; N], |key: Self| Secret::new(Zeroizing::new(key).as_slice());
}

/// The secrets that are valid for an endpoint: the current one and, during a rotation, up to
/// three previous ones.
///
/// Every request is checked against all of the secrets, even after one has matched, so that the
/// response time does not reveal which one matched.
///
/// `Secrets` is itself a [`SecretProvider`](crate::SecretProvider) that returns the same secrets
/// for every request.
///
/// ```
/// use soundhash_webhook::Secrets;
///
/// let secrets = Secrets::new("whsec_new").previous("whsec_old");
/// assert_eq!(secrets.len(), 2);
/// ```
#[derive(Clone)]
pub struct Secrets(Arc<Valid>);

#[derive(Clone)]
struct Valid {
    current: Secret,
    previous: Vec<Secret>,
    endpoint: Option<Arc<str>>,
}

impl Secrets {
    /// The maximum number of secrets that can be valid at once.
    pub const MAX: usize = 4;

    /// Creates a list that contains only the current secret.
    ///
    /// # Panics
    ///
    /// Panics if `current` is an empty string or slice.
    #[must_use]
    #[track_caller]
    pub fn new(current: impl IntoSecret) -> Self {
        Self(Arc::new(Valid {
            current: current.into_secret(),
            previous: Vec::new(),
            endpoint: None,
        }))
    }

    /// Adds a previous secret, which is still accepted.
    ///
    /// # Panics
    ///
    /// Panics if there are already [`Secrets::MAX`] secrets, or if `secret` is an empty string or
    /// slice. If the number of secrets is known only at run time, use `Secrets::try_from`.
    #[must_use]
    #[track_caller]
    pub fn previous(mut self, secret: impl IntoSecret) -> Self {
        assert!(self.len() < Self::MAX, "{}", SecretErrorKind::TooMany);
        Arc::make_mut(&mut self.0)
            .previous
            .push(secret.into_secret());
        self
    }

    /// Names the endpoint or tenant that the secrets belong to.
    ///
    /// [`Delivery::endpoint`](crate::Delivery::endpoint) returns this name. You can trust it even
    /// if the secrets were looked up based on the unsigned head of the request, because only
    /// someone who knows a secret of this endpoint can have signed the delivery.
    ///
    /// Two tenants can receive events with the same id. Stores tell them apart by this name, so
    /// without it, an event of one tenant can be taken for a duplicate of the other's. Choose the
    /// name before the first event: if it changes, every earlier event counts as new.
    #[must_use]
    pub fn endpoint(mut self, name: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).endpoint = Some(name.into());
        self
    }

    pub(crate) fn endpoint_name(&self) -> Option<&Arc<str>> {
        self.0.endpoint.as_ref()
    }

    /// Returns the label of a secret. Looks at all of them, so that the time does not depend on the
    /// index.
    pub(crate) fn label_of(&self, index: usize) -> Option<&Arc<str>> {
        let mut labels = [None; Self::MAX];
        labels[0] = self.0.current.label.as_ref();
        for (label, secret) in labels[1..].iter_mut().zip(&self.0.previous) {
            *label = secret.label.as_ref();
        }
        labels.get(index).copied().flatten()
    }

    /// Returns the number of valid secrets, from 1 to [`Secrets::MAX`].
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is always a current secret"
    )]
    pub fn len(&self) -> usize {
        1 + self.0.previous.len()
    }

    /// Verifies `body` like [`Secret::verify`], and returns the index of the secret that signed it,
    /// which is 0 for the current secret.
    ///
    /// # Errors
    ///
    /// Returns an error if `signature` is not 64 hexadecimal digits, or is not the signature of `body`
    /// under any of the secrets.
    pub fn verify(&self, signature: &HeaderValue, body: &[u8]) -> Result<usize, SignatureError> {
        let signature = Signature::try_from(signature)?;
        let mut verifier = self.verifier();
        verifier.update(body);
        verifier
            .verify(&signature)
            .ok_or(SignatureError(SignatureErrorKind::Mismatch))
    }

    /// Starts verifying a body under all secrets at once.
    #[inline]
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier {
            current: self.0.current.keyed(),
            previous: self.0.previous.iter().map(Secret::keyed).collect(),
        }
    }
}

impl From<Secret> for Secrets {
    fn from(current: Secret) -> Self {
        Self::new(current)
    }
}

/// Takes the first secret as the current one. Returns an error if the list is empty or has more
/// than [`Secrets::MAX`] secrets.
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
        Ok(Self(Arc::new(Valid {
            current,
            previous: secrets.collect(),
            endpoint: None,
        })))
    }
}

/// Parses the contents of a file with one secret per line, of which the first is the current one.
/// Empty lines are ignored.
///
/// ```
/// use soundhash_webhook::Secrets;
///
/// let secrets: Secrets = "whsec_new\nwhsec_old\n".parse()?;
/// assert_eq!(secrets.len(), 2);
/// # Ok::<(), soundhash_webhook::SecretError>(())
/// ```
impl FromStr for Secrets {
    type Err = SecretError;

    /// # Errors
    ///
    /// Returns an error if the file has fewer than one or more than [`Secrets::MAX`] secrets, or if
    /// a line is not valid, as described for [`Secret::from_str`], or begins with `#`. Such a comment
    /// would be a secret that anyone can guess.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let secret = |line: &str| match line.starts_with('#') {
            true => Err(SecretError::new(SecretErrorKind::Comment)),
            false => line.parse(),
        };
        let secrets: Result<Vec<_>, _> = lines.take(Self::MAX + 1).map(secret).collect();
        secrets?.try_into()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = (0..self.len()).map(|index| self.label_of(index)).collect();
        f.debug_struct("Secrets")
            .field("labels", &labels)
            .field("endpoint", &self.endpoint_name())
            .finish_non_exhaustive()
    }
}

/// Hashes a body under every valid secret while the body arrives.
pub(crate) struct Verifier {
    current: HmacSha256,
    /// Empty unless a rotation is in progress, so verifying a delivery usually requires no
    /// allocation.
    previous: Vec<HmacSha256>,
}

impl Verifier {
    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
        for mac in &mut self.previous {
            mac.update(bytes);
        }
    }

    /// Returns the index of the secret that signed the body, or `None` if none of them did.
    ///
    /// Runs in constant time by comparing the signatures of all secrets and selecting the index
    /// without a branch.
    #[inline]
    pub(crate) fn verify(&self, signature: &Signature) -> Option<usize> {
        let mut found = tag(self.current.clone()).ct_eq(signature);
        let mut index = 0;
        for (mac, i) in self.previous.iter().zip(1u8..) {
            let equal = tag(mac.clone()).ct_eq(signature);
            index.conditional_assign(&i, equal & !found);
            found |= equal;
        }
        bool::from(found).then_some(index.into())
    }
}

/// The error from creating a [`Secret`] or [`Secrets`]. It never shows the secret itself.
///
/// ```
/// use soundhash_webhook::Secret;
///
/// let error = Secret::from_env("UNSET_WEBHOOK_SECRET").unwrap_err();
/// assert_eq!(error.to_string(), "UNSET_WEBHOOK_SECRET is not set");
/// assert_eq!(error.variable(), Some("UNSET_WEBHOOK_SECRET"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
    variable: Option<Box<str>>,
}

/// The kinds of [`SecretError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The key is empty, so that anyone could sign, or the list of secrets is empty.
    Empty,
    /// The environment variable is not set. [Going live](crate::guide::going_live#secrets) shows
    /// how to read an optional variable, such as one for a previous secret.
    NotSet,
    /// The environment variable is not Unicode.
    NotUnicode,
    /// The value starts or ends with whitespace.
    SurroundingWhitespace,
    /// The value is in quotes.
    Quoted,
    /// The value contains an invisible character, such as a zero-width space or a byte order mark.
    InvisibleCharacter,
    /// A line of a list of secrets begins with `#`, like a comment.
    Comment,
    /// The list has more than [`Secrets::MAX`] secrets.
    TooMany,
}

impl SecretError {
    const fn new(kind: SecretErrorKind) -> Self {
        let variable = None;
        Self { kind, variable }
    }

    fn of_variable(self, name: &str) -> Self {
        let variable = Some(name.into());
        Self { variable, ..self }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> SecretErrorKind {
        self.kind
    }

    /// Returns the name of the environment variable if the error comes from [`Secret::from_env`].
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }
}

impl SecretErrorKind {
    /// Writes the error message, in which `name` is the variable or the word "secret".
    fn write(self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "{name} is empty"),
            Self::NotSet => write!(f, "{name} is not set"),
            Self::NotUnicode => write!(f, "{name} is not Unicode"),
            Self::SurroundingWhitespace => {
                write!(f, "{name} starts or ends with whitespace: remove it")
            }
            Self::Quoted => write!(f, "{name} is in quotes: remove them"),
            Self::InvisibleCharacter => write!(
                f,
                "{name} contains an invisible character, such as a zero-width space or a byte \
                 order mark: type the value, or copy it as plain text"
            ),
            Self::Comment => f.write_str("a line begins with #, but comments are not supported"),
            Self::TooMany => f.write_str("more than four secrets"),
        }
    }
}

impl fmt::Display for SecretErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "secret")
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind
            .write(f, self.variable.as_deref().unwrap_or("secret"))
    }
}

impl error::Error for SecretError {}
