use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tower_layer::Layer;

use super::{answer::AnswerKind, service::Idempotency};
use crate::{event::Timestamp, telemetry::RejectionLog};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`Layer`] that lets each event be acted on once.
///
/// It stands *inside* [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), whose
/// [`Delivery`](crate::Delivery) it needs: without one, it answers 500. What it does, and how
/// to choose its times, is in the [guide](super). Put it there once: a second one over the same
/// store, with the same [`scope`](Self::scope), would find every event claimed by the first.
///
/// ```
/// use std::time::Duration;
///
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{
///     Event, SoundHashWebhookLayer,
///     idempotency::{IdempotencyLayer, MemoryStore},
/// };
/// use tower::ServiceBuilder;
///
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
///     .layer(
///         ServiceBuilder::new()
///             .layer(SoundHashWebhookLayer::new("whsec_test"))
///             .layer(
///                 IdempotencyLayer::new(MemoryStore::new(100_000))
///                     .max_age(Duration::from_secs(15 * 60)),
///             ),
///     );
/// ```
pub struct IdempotencyLayer<St> {
    pub(super) store: Arc<St>,
    pub(super) settings: Settings,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) lease: Duration,
    retention: Option<Duration>,
    max_age: Option<Duration>,
    clock_skew: Duration,
    pub(super) detach: bool,
    pub(super) scope: Option<Arc<str>>,
    pub(super) rejections: Arc<RejectionLog>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl<St> IdempotencyLayer<St> {
    /// Remembers events in `store`. The layer's clones, and the services that it makes, share
    /// it.
    #[must_use]
    pub fn new(store: St) -> Self {
        Self {
            store: Arc::new(store),
            settings: Settings {
                lease: Duration::from_secs(60),
                retention: None,
                max_age: None,
                clock_skew: Duration::from_secs(60),
                detach: false,
                scope: None,
                rejections: Arc::default(),
                clock: Arc::new(SystemTime::now),
            },
        }
    }

    /// How long a handler has for an event: 60 s by default.
    ///
    /// Once it is over, a retry may run the handler again, even if the first run has not
    /// ended. So it has to be longer than any handler works; and it is how long retries are
    /// put off after a process died at work.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    #[track_caller]
    pub fn lease(mut self, lease: Duration) -> Self {
        assert!(!lease.is_zero(), "a lease of no time");
        self.settings.lease = lease;
        self
    }

    /// How long a completed event is remembered: 24 h by default, or `max_age` and
    /// `clock_skew` together if that is longer.
    ///
    /// SoundHash retries for 9 minutes at most. Where there is a `max_age`, the store remembers
    /// an event for `clock_skew` longer, as much as the clocks of a fleet may differ.
    ///
    /// # Panics
    ///
    /// If it is shorter than [`max_age`](Self::max_age) and [`clock_skew`](Self::clock_skew)
    /// together, whichever of the three is called last: a recorded delivery could then be
    /// young enough and yet forgotten.
    #[must_use]
    #[track_caller]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = Some(retention);
        self.checked()
    }

    /// The age at which an event is refused with 401: off by default.
    ///
    /// A signed body stays valid for as long as its secret. With an age limit, a delivery
    /// that somebody recorded is either remembered or too old. Honest retries come up to
    /// 9 minutes late: 15 minutes is a good choice. Events that say no time are refused, too.
    ///
    /// # Panics
    ///
    /// As [`retention`](Self::retention).
    #[must_use]
    #[track_caller]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self.checked()
    }

    /// How far ahead of our clock an event's time may be where there is a
    /// [`max_age`](Self::max_age): 60 s by default.
    ///
    /// # Panics
    ///
    /// As [`retention`](Self::retention).
    #[must_use]
    #[track_caller]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.settings.clock_skew = skew;
        self.checked()
    }

    /// Whether the handler runs in a task of its own, to its end even if the sender hangs up:
    /// off by default, and the handler is then cut off.
    ///
    /// Switch it on for handlers that can take longer than the 30 s that SoundHash waits:
    /// their work is then done once, instead of being cut off and begun anew by every retry.
    /// A shutdown does not wait for such tasks.
    #[must_use]
    pub fn detach(mut self, detach: bool) -> Self {
        self.settings.detach = detach;
        self
    }

    /// Keeps this layer's events apart from those of layers with another scope, or none, in
    /// the same store.
    ///
    /// SoundHash sends one event to every endpoint that is registered for it, with the same
    /// id. Where several endpoints share a store and each is to act on it, each needs a scope.
    #[must_use]
    pub fn scope(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.scope = Some(name.into());
        self
    }

    /// The clock that [`max_age`](Self::max_age) is measured by, for tests:
    /// [`SystemTime::now`] by default. Leases and retention follow the store's clock.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(now);
        self
    }

    #[track_caller]
    fn checked(self) -> Self {
        let (retention, needed) = (self.settings.retention(), self.settings.replayable());
        assert!(
            retention >= needed,
            "retention of {retention:?} is shorter than max_age and clock_skew together: {needed:?}"
        );
        self
    }
}

impl Settings {
    /// How long after it was completed an event may still be young enough: its time was up to
    /// `clock_skew` ahead.
    fn replayable(&self) -> Duration {
        self.max_age
            .map_or(Duration::ZERO, |age| age.saturating_add(self.clock_skew))
    }

    pub(super) fn retention(&self) -> Duration {
        self.retention.unwrap_or(DAY.max(self.replayable()))
    }

    /// How long the store remembers a completed event. Where there is a `max_age`, longer than
    /// the retention: the clocks of a fleet differ, and between the look at an event's age and
    /// its claim, the store takes its time.
    pub(super) fn remembered(&self) -> Duration {
        let slack = match self.max_age {
            Some(_) => self.clock_skew.saturating_add(Duration::from_secs(1)),
            None => Duration::ZERO,
        };
        self.retention().saturating_add(slack)
    }

    /// Why an event of that time is refused, if it is.
    pub(super) fn refusal(&self, created_at: Option<Timestamp>) -> Option<AnswerKind> {
        let max_age = self.max_age?;
        let Some(created_at) = created_at else {
            return Some(AnswerKind::Undated);
        };
        match (self.clock)().duration_since(created_at.into()) {
            Ok(age) => (age >= max_age).then_some(AnswerKind::TooOld),
            Err(ahead) => (ahead.duration() > self.clock_skew).then_some(AnswerKind::FromTheFuture),
        }
    }
}

impl<S, St> Layer<S> for IdempotencyLayer<St> {
    type Service = Idempotency<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotency {
            inner,
            layer: self.clone(),
        }
    }
}

// Not derived: a store need be neither `Clone` nor `Debug`.
impl<St> Clone for IdempotencyLayer<St> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<St> fmt::Debug for IdempotencyLayer<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("lease", &self.settings.lease)
            .field("retention", &self.settings.retention())
            .field("max_age", &self.settings.max_age)
            .field("clock_skew", &self.settings.clock_skew)
            .field("detach", &self.settings.detach)
            .field("scope", &self.settings.scope)
            .finish_non_exhaustive()
    }
}
