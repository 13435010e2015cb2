//! The layer and its settings.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{outcome::OutcomeKind, service::Idempotency, settings::Settings};
use crate::telemetry;

/// A [`Layer`] that lets a handler complete each event only once.
///
/// The layer must be *inside* [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), which
/// provides the [`Delivery`](crate::Delivery) that it needs. The response to a request without a
/// `Delivery` is a 500. The [module docs](super) explain the layer and how to choose its times.
///
/// # Where to put it
///
/// Apply the layer **only to the handler's route**, and only once.
///
/// A signature covers the body, but neither the path nor the method. If the layer also covered a
/// route such as `/status`, an attacker could send a recorded delivery there. The 200 would
/// complete the event, and SoundHash's retry would count as a duplicate even though the handler
/// never ran. For the same reason, the layer responds to every method except POST with 405.
///
/// If a request passes through two of these layers with the same store and the same
/// [`scope`](Self::scope), the inner layer finds that the outer one has already claimed every
/// event.
pub struct IdempotencyLayer<St> {
    store: Arc<St>,
    pub(super) settings: Settings,
}

impl<St> IdempotencyLayer<St> {
    /// Creates a layer that keeps its claims in `store`.
    ///
    /// Clones of the layer share the store, and so do the services that the layer creates.
    #[must_use]
    pub fn new(store: St) -> Self {
        telemetry::start_idempotency(OutcomeKind::NAMES);
        Self {
            store: Arc::new(store),
            settings: Settings::default(),
        }
    }

    /// Sets how long a claim lasts. The default is 60 s.
    ///
    /// Once the lease has ended, a retry runs the handler again even if the first run is still in
    /// progress, so choose a lease that is longer than the handler ever takes. Do not make it much
    /// longer, because if the process dies while the handler runs, retries get a 503 until the
    /// lease ends.
    ///
    /// # Panics
    ///
    /// Panics if `lease` is zero.
    #[must_use]
    #[track_caller]
    pub fn lease(mut self, lease: Duration) -> Self {
        assert!(!lease.is_zero(), "lease must be greater than zero");
        self.settings.lease = lease;
        self
    }

    /// Sets how long an event is remembered after its last delivery. The default is 24 h.
    ///
    /// Each duplicate restarts this period, because SoundHash can repeat an event for days.
    ///
    /// A retention that is shorter than the sum of [`max_age`](Self::max_age) and
    /// [`clock_skew`](Self::clock_skew) is raised to that sum. Otherwise, the store could forget an
    /// event while a recorded delivery of it is still accepted. With a `max_age`, the store
    /// remembers events for an extra `clock_skew`, because the clocks of different machines can
    /// disagree.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Responds with 401 to events that are at least this old. By default, the age is not limited.
    ///
    /// A recorded delivery's signature stays valid for as long as the secret does. With an age
    /// limit, an attacker cannot replay the delivery, because the event is either still remembered
    /// or too old. Retries arrive up to 9 minutes late, so 15 minutes is a good choice. Events
    /// without a time are also rejected.
    ///
    /// The age is measured with this host's clock, which **must be synchronized**. If the clock is
    /// wrong by more than [`clock_skew`](Self::clock_skew), authentic events are rejected. These
    /// rejections are logged at `warn`, at most once a minute per reason.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self
    }

    /// Sets how far an event's time may be ahead of this host's clock. The default is 60 s. Without
    /// a [`max_age`](Self::max_age), this has no effect.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.settings.clock_skew = skew;
        self
    }

    /// Sets whether the handler runs in a separate task, so that it finishes even if the sender
    /// hangs up. With the default, `false`, it is canceled instead.
    ///
    /// Turn this on for a handler that can take longer than the 30 s that SoundHash waits.
    /// Otherwise, each retry would start the work over, only to be canceled again. Turn it on, too,
    /// if an attacker may have recorded deliveries. Otherwise, the attacker can repeat one that has
    /// not been completed yet, hang up before the handler ends, and repeat it again until SoundHash
    /// has made its last attempt. A graceful shutdown does not wait for these tasks, which need a
    /// Tokio runtime.
    #[must_use]
    pub fn detach(mut self, detach: bool) -> Self {
        self.settings.detach = detach;
        self
    }

    /// Prefixes the keys of this layer with `name`, so that several layers can share one store.
    ///
    /// SoundHash's dispatcher sends an event with the same id to every endpoint that is registered
    /// for it. If several of your endpoints share a store, and each has to handle the event, give
    /// each one a scope. The portal's events do not need one, because they name the endpoint in the
    /// body.
    #[must_use]
    pub fn scope(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.scope = Some(name.into());
        self
    }
}

impl<S, St> Layer<S> for IdempotencyLayer<St> {
    type Service = Idempotency<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        Idempotency::new(inner, self.store.clone(), Arc::new(self.settings.clone()))
    }
}

// Deriving these traits would require `St` to be `Clone` and `Debug`.
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
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
