//! A cache in front of secrets that are looked up by the name of their endpoint.

use std::{
    borrow::Cow,
    error, fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum_core::BoxError;
use http::request;
use moka::future::Cache;
use tokio::sync::{AcquireError, Semaphore};

use super::SecretProvider;
use crate::secret::Secrets;

/// Longer names are not looked up, so that an attacker cannot fill the cache with them.
const MAX_NAME: usize = 256;

/// Looks up the secrets of an endpoint by its name, for [`CachedSecrets`].
///
/// The look-up gets the name and not the request, so that the cached secrets cannot depend on
/// anything but the name. If they could, a request for one endpoint could put the secrets of
/// another into its entry.
pub trait SecretLookup: Send + Sync + 'static {
    /// Returns the name of the endpoint that a request is for, or `None` if it names none.
    ///
    /// The head is *not* signed, so an attacker can choose any name, but then has to sign with
    /// the secret that belongs to it. Names of more than 256 bytes count as unknown. The layer
    /// rejects both like a wrong signature, without a look-up.
    fn name<'a>(&self, head: &'a request::Parts) -> Option<Cow<'a, str>>;

    /// Looks up the secrets of the endpoint `name`. Returns `None` if the endpoint does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the look-up fails. The layer then answers 503, SoundHash retries, and
    /// nothing is cached.
    fn look_up(&self, name: &str)
    -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;
}

/// A [`SecretProvider`] that caches what a [`SecretLookup`] finds, for many endpoints or tenants
/// whose secrets are in a database or another service (feature `cache`).
///
/// Concurrent requests for the same name share one look-up. A cached answer is used without
/// waiting. [`Delivery::endpoint`](crate::Delivery::endpoint) returns the name, unless the
/// look-up itself called [`Secrets::endpoint`].
///
/// ```
/// use std::borrow::Cow;
///
/// use axum::http::request;
/// use soundhash_webhook::{
///     BoxError, CachedSecrets, SecretLookup, Secrets, SoundHashWebhookLayer,
/// };
///
/// struct Database;
///
/// impl SecretLookup for Database {
///     fn name<'a>(&self, head: &'a request::Parts) -> Option<Cow<'a, str>> {
///         // `/webhooks/acme`
///         head.uri.path().rsplit('/').next().map(Cow::Borrowed)
///     }
///
///     async fn look_up(&self, name: &str) -> Result<Option<Secrets>, BoxError> {
///         // SELECT secret FROM endpoints WHERE name = $1
///         Ok((name == "acme").then(|| Secrets::new("whsec_acme")))
///     }
/// }
///
/// let layer = SoundHashWebhookLayer::with_provider(CachedSecrets::new(Database));
/// ```
///
/// # What an attacker who invents names can cost
///
/// - **Memory**: names without an endpoint have a cache of their own, so they evict each other
///   and never an endpoint.
/// - **Look-ups**: at most [`max_lookups`](Self::max_lookups) run at the same time. Names that
///   had no endpoint until now get half of them, so that refreshing the endpoints in use does not
///   wait behind invented names. The first look-up of a real endpoint does: while an attack
///   lasts, it can time out, and SoundHash retries.
///
/// Each of these requests needs a whole body and a well-formed signature before the layer asks
/// for secrets at all.
pub struct CachedSecrets<L> {
    lookup: Arc<L>,
    limits: Limits,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    time_to_live: Duration,
    negative_time_to_live: Duration,
    capacity: u64,
    max_lookups: usize,
}

/// The part that clones have in common.
struct Shared {
    known: Cache<Arc<str>, Secrets>,
    unknown: Cache<Arc<str>, ()>,
    /// Names that had an endpoint when they were looked up last, whose entry can have expired.
    established: Cache<Arc<str>, ()>,
    lookups: Semaphore,
    /// Look-ups of other names than the established ones, which also need one of `lookups`.
    new_lookups: Semaphore,
}

impl Shared {
    fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            known: Cache::builder()
                .max_capacity(limits.capacity)
                .time_to_live(limits.time_to_live)
                .build(),
            unknown: Cache::builder()
                .max_capacity(limits.capacity)
                .time_to_live(limits.negative_time_to_live)
                .build(),
            established: Cache::new(limits.capacity),
            lookups: Semaphore::new(limits.max_lookups),
            new_lookups: Semaphore::new((limits.max_lookups / 2).max(1)),
        })
    }
}

impl<L: SecretLookup> CachedSecrets<L> {
    /// Caches the answers of `lookup`.
    #[must_use]
    pub fn new(lookup: L) -> Self {
        let limits = Limits {
            time_to_live: Duration::from_secs(60),
            negative_time_to_live: Duration::from_secs(10),
            capacity: 10_000,
            max_lookups: 16,
        };
        Self {
            lookup: Arc::new(lookup),
            limits,
            shared: Shared::new(&limits),
        }
    }

    /// Sets how long secrets are used after they were looked up: 60 s by default.
    ///
    /// A secret that was replaced or revoked in the database stays valid for this time at most.
    #[must_use]
    pub fn time_to_live(self, time: Duration) -> Self {
        self.with(|limits| limits.time_to_live = time.min(YEAR))
    }

    /// Sets for how long a name without an endpoint is rejected without another look-up: 10 s by
    /// default.
    ///
    /// An endpoint that is created after a request for it takes this time at most to work.
    #[must_use]
    pub fn negative_time_to_live(self, time: Duration) -> Self {
        self.with(|limits| limits.negative_time_to_live = time.min(YEAR))
    }

    /// Sets how many endpoints are cached: 10,000 by default. Choose more than you have.
    ///
    /// As many names without an endpoint are cached too.
    #[must_use]
    pub fn capacity(self, endpoints: u64) -> Self {
        self.with(|limits| limits.capacity = endpoints)
    }

    /// Sets how many look-ups run at the same time: 16 by default. The others wait.
    ///
    /// # Panics
    ///
    /// Panics if `max` is zero, because no endpoint could ever be looked up.
    #[must_use]
    #[track_caller]
    pub fn max_lookups(self, max: usize) -> Self {
        assert!(max > 0, "max_lookups must be greater than zero");
        self.with(|limits| limits.max_lookups = max.min(Semaphore::MAX_PERMITS))
    }

    /// Changes a limit, and starts with empty caches.
    fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self.shared = Shared::new(&self.limits);
        self
    }
}

/// The cache panics if its entries live for more than a thousand years.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<L: SecretLookup> SecretProvider for CachedSecrets<L> {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        let Some(name) = self.lookup.name(head).filter(|it| it.len() <= MAX_NAME) else {
            return Ok(None);
        };
        let name: Arc<str> = name.into();
        let known = &self.shared.known;
        match known.try_get_with(name.clone(), self.look_up(&name)).await {
            Ok(secrets) => Ok(Some(secrets)),
            Err(miss) => match *miss {
                Miss::Unknown => Ok(None),
                Miss::Failed(_) => Err(miss.into()),
            },
        }
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        let name = self.lookup.name(head)?;
        let mut context = Context::from_waker(Waker::noop());
        match pin!(self.shared.known.get(&*name)).poll(&mut context) {
            Poll::Ready(secrets) => secrets,
            // The cache has housekeeping to do first, so leave the request to `secrets`.
            Poll::Pending => None,
        }
    }
}

impl<L: SecretLookup> CachedSecrets<L> {
    /// Looks up a name, once for all requests that wait for it. If the request that runs this is
    /// dropped, the next one starts again.
    async fn look_up(&self, name: &Arc<str>) -> Result<Secrets, Miss> {
        let shared = &*self.shared;
        if shared.unknown.get(name).await.is_some() {
            return Err(Miss::Unknown);
        }
        let _new = match shared.established.contains_key(name) {
            true => None,
            false => Some(shared.new_lookups.acquire().await?),
        };
        let _permit = shared.lookups.acquire().await?;
        match self.lookup.look_up(name).await {
            Ok(Some(secrets)) => {
                shared.established.insert(name.clone(), ()).await;
                Ok(match secrets.endpoint_name() {
                    Some(_) => secrets,
                    None => secrets.endpoint(name.clone()),
                })
            }
            Ok(None) => {
                shared.established.invalidate(name).await;
                shared.unknown.insert(name.clone(), ()).await;
                Err(Miss::Unknown)
            }
            Err(error) => Err(Miss::Failed(error)),
        }
    }
}

/// The reason why a look-up found nothing, in a type that waiting requests can share.
#[derive(Debug)]
enum Miss {
    Unknown,
    Failed(BoxError),
}

/// The semaphores are never closed.
impl From<AcquireError> for Miss {
    fn from(error: AcquireError) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such endpoint"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl error::Error for Miss {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unknown => None,
            Self::Failed(error) => error.source(),
        }
    }
}

// Not derived: a look-up need be neither `Clone` nor `Debug`.
impl<L> Clone for CachedSecrets<L> {
    fn clone(&self) -> Self {
        Self {
            lookup: self.lookup.clone(),
            limits: self.limits,
            shared: self.shared.clone(),
        }
    }
}

impl<L> fmt::Debug for CachedSecrets<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSecrets")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
