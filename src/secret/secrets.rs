use std::{fmt, sync::Arc};

use super::{Secret, SecretError, SecretErrorKind, Verifier};

/// The secrets that are valid for an endpoint now.
///
/// They are the current one and, during a rotation, up to three previous ones.
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
pub struct Secrets(Arc<Valid>);

#[derive(Clone)]
struct Valid {
    current: Secret,
    previous: Vec<Secret>,
    endpoint: Option<Arc<str>>,
}

impl Secrets {
    /// The most secrets that can be valid at once.
    pub const MAX: usize = 4;

    /// One secret, the current one.
    #[must_use]
    #[track_caller]
    pub fn new(current: impl Into<Secret>) -> Self {
        Self(Arc::new(Valid {
            current: current.into(),
            previous: Vec::new(),
            endpoint: None,
        }))
    }

    /// Adds a secret that is still accepted, after those that are there already.
    ///
    /// # Panics
    ///
    /// If there would be more than [`Secrets::MAX`]. Use [`Secrets::try_from`] for a list
    /// whose length is known at run time only.
    #[must_use]
    #[track_caller]
    pub fn previous(mut self, secret: impl Into<Secret>) -> Self {
        assert!(self.len() < Self::MAX, "{}", SecretErrorKind::TooMany);
        Arc::make_mut(&mut self.0).previous.push(secret.into());
        self
    }

    /// Names the endpoint, or the tenant, that these are the secrets of.
    ///
    /// A verified delivery carries the name as
    /// [`Delivery::endpoint`](crate::Delivery::endpoint): unlike the head that the secrets
    /// were looked up by, it is proven by the signature.
    #[must_use]
    pub fn endpoint(mut self, name: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).endpoint = Some(name.into());
        self
    }

    pub(crate) fn endpoint_name(&self) -> Option<Arc<str>> {
        self.0.endpoint.clone()
    }

    /// How many secrets are valid: 1 to [`Secrets::MAX`].
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is always a current secret"
    )]
    pub fn len(&self) -> usize {
        1 + self.0.previous.len()
    }

    /// Starts to check a body under every secret at once.
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
        Ok(Self(Arc::new(Valid {
            current,
            previous: secrets.collect(),
            endpoint: None,
        })))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} of {})", self.len(), Self::MAX)
    }
}
