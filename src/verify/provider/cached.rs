//! Secrets that are looked up by endpoint name and cached.

use std::{
    borrow::Cow,
    collections::HashMap,
    error::Error,
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum_core::BoxError;
use futures_util::future::{Either, select};
use http::request;
use moka::sync::Cache;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep},
};

use super::{SecretProvider, TooManyLookups, turns::Turns};
use crate::{secret::Secrets, telemetry, verify::keys::within};

/// The maximum length of a name. Longer names are not looked up, so that an attacker cannot use
/// them to exhaust memory.
const MAX_NAME: usize = 256;

/// How long after its start other requests may join a lookup, and how long it goes on if all of its
/// requests are dropped. An older lookup may be stuck, so a new one is started instead.
const JOINABLE: Duration = Duration::from_secs(5);

/// The maximum time that a lookup waits for others. One second of the default
/// [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout) remains for the lookup itself.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// Looks up an endpoint's secrets by name, for [`CachedSecrets`].
///
/// [`lookup`](Self::lookup) gets the name instead of the request, so that the secrets depend only
/// on the name. A request for one endpoint therefore cannot put its secrets into the cache under
/// another endpoint's name.
pub trait SecretLookup: Send + Sync + 'static {
    /// Returns the name of the endpoint that the request is for, or `None` if the request does not
    /// name one.
    ///
    /// The head is *not* signed. An attacker can choose any name, but then has to sign with that
    /// endpoint's secret. For `None` or a name longer than 256 bytes, the layer responds as if the
    /// signature were wrong, without a lookup.
    fn name<'a>(&self, head: &'a request::Parts) -> Option<Cow<'a, str>>;

    /// Returns the secrets of the endpoint `name`, or `None` if the endpoint does not exist.
    ///
    /// This runs in a separate Tokio task. If all requests that wait for it are dropped, it ends 5 s
    /// after its start.
    ///
    /// # Errors
    ///
    /// Returns an error if the lookup fails. Nothing is then cached, and the layer responds with
    /// 503, so that SoundHash retries.
    fn lookup(&self, name: &str) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;
}

/// A [`SecretProvider`] that caches the secrets of many endpoints or tenants (feature `cache`).
///
/// A [`SecretLookup`] finds the secrets by endpoint name, for example in a database. Concurrent
/// requests for the same name share one lookup. Requests whose secrets are cached do not wait.
///
/// The name becomes each delivery's [`endpoint`](crate::Delivery::endpoint), unless the lookup
/// itself sets one with [`Secrets::endpoint`]. The lookup must do this if several names refer to
/// the same endpoint, for example because the database ignores case. Otherwise, an attacker can
/// replay a recorded delivery once under each of these names.
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
///     async fn lookup(&self, name: &str) -> Result<Option<Secrets>, BoxError> {
///         // SELECT secret FROM endpoints WHERE name = $1
///         Ok((name == "acme").then(|| Secrets::new("whsec_acme")))
///     }
/// }
///
/// let layer = SoundHashWebhookLayer::with_provider(CachedSecrets::new(Database));
/// ```
///
/// To share a cache between layers, put it into an [`Arc`].
///
/// # What an attacker who invents names can cost
///
/// - **Memory**: made-up names are cached separately, so they evict only each other and never an
///   endpoint's secrets.
/// - **Lookups**: at most [`max_lookups`](Self::max_lookups) run at a time, and at most half of
///   them are for new names. Made-up names can therefore prevent only an endpoint's first lookup,
///   not a later one after its entry has expired. If made-up names arrive faster than they can be
///   looked up, the newest name is looked up next, so that every name has the same chance of being
///   looked up in time. A lookup is given up, with the reason `too_many_lookups`, once it has
///   waited for 4 s, or 64 newer ones wait. If none of SoundHash's attempts is lucky, the event is
///   lost. To rule this out, [`insert`](Self::insert) all endpoints when the service starts, and
///   each one that is created later.
/// - **Hang-ups**: a lookup that has started goes on for up to 5 s if all of its requests are
///   dropped. Otherwise, an attacker who hangs up could start lookups while the database still works
///   on canceled ones, and a connection pool would have to replace their connections.
/// - **Lookups of real names**: an attacker who knows all names can cause one lookup of each per
///   [`time_to_live`](Self::time_to_live). Choose the limits so that this is possible in a fraction
///   of that time: 10,000 lookups of 20 ms, 16 at a time, take 12.5 s, but at 200 ms they take 125
///   s, and deliveries would be rejected.
///
/// The layer starts a lookup only for a request with a well-formed signature, and only after the
/// whole body has arrived.
pub struct CachedSecrets<L> {
    lookup: Arc<L>,
    limits: Limits,
    shared: Arc<State>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    time_to_live: Duration,
    negative_time_to_live: Duration,
    capacity: u64,
    max_lookups: usize,
}

/// The state that the provider shares with its running lookups.
struct State {
    known: Cache<Arc<str>, Secrets>,
    unknown: Cache<Arc<str>, ()>,
    /// The names whose last lookup found an endpoint, even if their entry in `known` has expired.
    established: Cache<Arc<str>, ()>,
    lookups: Semaphore,
    /// Limits lookups of names that are not in `established`. They also need a permit from
    /// `lookups`.
    new_lookups: Arc<Turns>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    lookups: HashMap<Arc<str>, RunningLookup>,
    last_id: u64,
}

struct RunningLookup {
    id: u64,
    started: Instant,
    found: watch::Sender<Option<Found>>,
}

/// The result of a lookup, shared by all requests that wait for it.
type Found = Result<Option<Secrets>, Arc<dyn Error + Send + Sync>>;

impl State {
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
            new_lookups: Turns::new((limits.max_lookups / 2).max(1)),
            running: Mutex::default(),
        })
    }

    fn insert(&self, name: Arc<str>, secrets: Secrets) -> Secrets {
        let secrets = with_endpoint(secrets, &name);
        self.established.insert(name.clone(), ());
        self.known.insert(name, secrets.clone());
        secrets
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // No code panics while it holds the lock, so poisoning can be ignored.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: SecretLookup> CachedSecrets<L> {
    /// Creates an empty cache in front of `lookup`.
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
            shared: State::new(&limits),
        }
    }

    /// Sets how long secrets are cached. The default is 60 s.
    ///
    /// A secret that is replaced or revoked in the database can remain valid for up to this long, and a
    /// new one can be rejected for as long. Stay below the 7 minutes after which SoundHash drops an
    /// event.
    #[must_use]
    pub fn time_to_live(self, time: Duration) -> Self {
        self.with(|limits| limits.time_to_live = time.min(YEAR))
    }

    /// Sets how long the cache remembers that a name does not exist. The default is 10 s.
    ///
    /// If a request for an endpoint arrives before the endpoint has been created, later deliveries
    /// to it can still be rejected for this long.
    #[must_use]
    pub fn negative_time_to_live(self, time: Duration) -> Self {
        self.with(|limits| limits.negative_time_to_live = time.min(YEAR))
    }

    /// Sets how many endpoints are cached. The default is 10,000. Choose a value greater than your
    /// number of endpoints.
    ///
    /// The cache also remembers up to the same number of nonexistent names.
    #[must_use]
    pub fn capacity(self, endpoints: u64) -> Self {
        self.with(|limits| limits.capacity = endpoints)
    }

    /// Sets how many lookups run at a time. The default is 16. Further lookups wait.
    ///
    /// Choose at least 2. Otherwise, the lookup of a made-up name can block all others.
    ///
    /// # Panics
    ///
    /// Panics if `max` is zero.
    #[must_use]
    #[track_caller]
    pub fn max_lookups(self, max: usize) -> Self {
        assert!(max > 0, "max_lookups must be greater than zero");
        self.with(|limits| limits.max_lookups = max.min(Semaphore::MAX_PERMITS))
    }

    /// Puts the secrets of the endpoint `name` into the cache, as a lookup does.
    ///
    /// A lookup of this name that is in progress does not replace them. Later lookups of the name
    /// do not compete with those of new names, even after its entry has expired, but only with those
    /// of other endpoints.
    ///
    /// Call the setters first, because they empty the cache.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use axum::http::request;
    /// # use soundhash_webhook::{BoxError, CachedSecrets, SecretLookup, Secrets};
    /// # struct Database;
    /// # impl SecretLookup for Database {
    /// #     fn name<'a>(&self, _: &'a request::Parts) -> Option<Cow<'a, str>> { None }
    /// #     async fn lookup(&self, _: &str) -> Result<Option<Secrets>, BoxError> { Ok(None) }
    /// # }
    /// # fn endpoints() -> Vec<(String, String)> { Vec::new() }
    /// let cache = CachedSecrets::new(Database).capacity(50_000);
    /// // SELECT name, secret FROM endpoints
    /// for (name, secret) in endpoints() {
    ///     cache.insert(&name, Secrets::new(secret));
    /// }
    /// ```
    pub fn insert(&self, name: &str, secrets: Secrets) {
        let mut running = self.shared.running();
        running.lookups.remove(name);
        self.shared.unknown.invalidate(name);
        self.shared.insert(name.into(), secrets);
    }

    /// Changes the limits and empties the caches.
    fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self.shared = State::new(&self.limits);
        self
    }
}

/// The maximum time to live. moka panics if entries live longer than a thousand years.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<L: SecretLookup> SecretProvider for CachedSecrets<L> {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        let Some(name) = self.lookup.name(head).filter(|it| it.len() <= MAX_NAME) else {
            return Ok(None);
        };
        if let Some(secrets) = self.shared.known.get(&*name) {
            return Ok(Some(secrets));
        }
        if self.shared.unknown.contains_key(&*name) {
            return Ok(None);
        }
        let mut found = self.join_lookup(&name);
        let found = found.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|it| it.clone());
        // Only a panic ends a lookup without a result while a request waits for it.
        let found = found.ok_or("the lookup panicked")?;
        found.map_err(|error| match error.is::<TooManyLookups>() {
            true => TooManyLookups.into(),
            false => error.into(),
        })
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        self.shared.known.get(&*self.lookup.name(head)?)
    }
}

impl<L: SecretLookup> CachedSecrets<L> {
    /// Joins the running lookup for this name, or starts one.
    fn join_lookup(&self, name: &str) -> watch::Receiver<Option<Found>> {
        let mut running = self.shared.running();
        let known = running.lookups.get(name);
        if let Some(recent) = known.filter(|it| it.started.elapsed() < JOINABLE) {
            return recent.found.subscribe();
        }
        running.last_id += 1;
        let (sender, found) = watch::channel(None);
        let entry = Entry {
            id: running.last_id,
            name: name.into(),
            state: self.shared.clone(),
        };
        let lookup = RunningLookup {
            id: entry.id,
            started: Instant::now(),
            found: sender.clone(),
        };
        running.lookups.insert(entry.name.clone(), lookup);
        drop(running);
        let lookup = run(self.lookup.clone(), entry, sender);
        tokio::spawn(telemetry::in_current_span(lookup));
        found
    }
}

/// Waits for its turn, looks the name up, and sends the result to the requests that wait for it.
///
/// If all of them are dropped before its turn comes, it ends. Afterwards, it goes on without them,
/// because the database does not stop when a request does.
async fn run<L: SecretLookup>(lookup: Arc<L>, entry: Entry, found: watch::Sender<Option<Found>>) {
    let Entry { name, state, .. } = &entry;
    let permits = async {
        let new = match state.established.contains_key(name) {
            true => None,
            false => Some(state.new_lookups.next().await?),
        };
        // The semaphore is never closed, so acquiring a permit cannot fail.
        Ok((new, state.lookups.acquire().await))
    };
    let mut permits = pin!(within(MAX_WAIT, permits));
    let permits = loop {
        match select(permits.as_mut(), pin!(found.closed())).await {
            Either::Left((permits, _)) => break permits,
            Either::Right(_) if entry.remove_unless_joined(&found) => return,
            Either::Right(_) => {}
        }
    };
    let _permits = match permits.unwrap_or(Err(TooManyLookups)) {
        Ok(permits) => permits,
        Err(error) => {
            found.send_replace(Some(Err(Arc::new(error))));
            return;
        }
    };
    let looked_up = pin!(lookup.lookup(name));
    let abandoned = pin!(async {
        // From then on, no request joins this lookup.
        sleep(JOINABLE).await;
        found.closed().await;
    });
    if let Either::Left((result, _)) = select(looked_up, abandoned).await {
        let result = result.map(|secrets| entry.cache(secrets));
        found.send_replace(Some(result.map_err(Into::into)));
    }
}

fn with_endpoint(secrets: Secrets, name: &Arc<str>) -> Secrets {
    match secrets.endpoint_name() {
        Some(_) => secrets,
        None => secrets.endpoint(name.clone()),
    }
}

/// A guard for a lookup's entry in [`Running`]. Dropping it removes the entry.
struct Entry {
    id: u64,
    name: Arc<str>,
    state: Arc<State>,
}

impl Entry {
    /// Caches and returns what a lookup found.
    fn cache(&self, secrets: Option<Secrets>) -> Option<Secrets> {
        let Self { name, state, .. } = self;
        // If this lookup has been overtaken, the newer one may have found newer secrets. The lock is
        // held until the secrets are in the cache, so that none can overtake it meanwhile.
        let running = state.running();
        let is_current = self.is_in(&running);
        let Some(secrets) = secrets else {
            if is_current {
                state.established.invalidate(name);
                state.unknown.insert(name.clone(), ());
            }
            return None;
        };
        Some(match is_current {
            true => state.insert(name.clone(), secrets),
            false => with_endpoint(secrets, name),
        })
    }

    /// Removes the entry if no request waits for this lookup, so that none can join it any more.
    fn remove_unless_joined(&self, found: &watch::Sender<Option<Found>>) -> bool {
        let mut running = self.state.running();
        let is_unwanted = found.receiver_count() == 0;
        if is_unwanted {
            self.remove_from(&mut running);
        }
        is_unwanted
    }

    /// Returns `false` if this lookup has taken so long that a newer one for the same name has
    /// started.
    fn is_in(&self, running: &Running) -> bool {
        let lookup = running.lookups.get(&self.name);
        lookup.is_some_and(|it| it.id == self.id)
    }

    fn remove_from(&self, running: &mut Running) {
        if self.is_in(running) {
            running.lookups.remove(&self.name);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.remove_from(&mut self.state.running());
    }
}

// A derive would require `L: Debug`.
impl<L> fmt::Debug for CachedSecrets<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSecrets")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
