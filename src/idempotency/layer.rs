//! The layer and its settings.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{service::Idempotency, settings::Settings};

/// A [`Layer`] that lets a handler complete each event once.
///
/// Put it *inside* [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), which provides the
/// [`Delivery`](crate::Delivery) that this layer needs. A request without a `Delivery` gets a 500.
/// The [module docs](super) explain what the layer does and how to choose its times.
///
/// # Where to put it
///
/// Put it around **the route of the handler only**, and only once, as the [module docs](super) show.
///
/// A signature covers the body, and neither the path nor the method. If the layer also covered a route
/// such as `/status`, an attacker who recorded a delivery could send it there. The 200 would complete the
/// event, and SoundHash's retry would be a duplicate although the handler never ran. For the same
/// reason, the layer rejects every method except POST with 405, without a claim.
///
/// If a request passes two of these layers that share a store and a [`scope`](Self::scope), the
/// inner layer finds every event claimed by the outer one.
pub struct IdempotencyLayer<St> {
    store: Arc<St>,
    pub(super) settings: Settings,
}

impl<St> IdempotencyLayer<St> {
    /// Creates a layer that keeps its claims in `store`.
    ///
    /// Clones of the layer, and the services that it makes, share the store.
    #[must_use]
    pub fn new(store: St) -> Self {
        Self {
            store: Arc::new(store),
            settings: Settings::default(),
        }
    }

    /// Sets how long a claim lasts. The default is 60 s.
    ///
    /// After the lease, a retry runs the handler again, even if the first run has not ended. The
    /// lease must therefore be longer than the handler ever takes. It should not be much longer,
    /// because if a process dies while its handler runs, retries get a 503 until the lease ends.
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

    /// Sets how long a completed event is remembered after its last delivery. The default is
    /// 24 h.
    ///
    /// Each duplicate renews the retention, because SoundHash's retry job can repeat an event
    /// for days.
    ///
    /// A retention that is shorter than [`max_age`](Self::max_age) and
    /// [`clock_skew`](Self::clock_skew) together is raised to their sum. Otherwise, a recorded
    /// delivery could be forgotten before it is too old. With a `max_age`, the store remembers events
    /// for another `clock_skew`, because the clocks of a fleet differ.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Sets the age at which an event is rejected with 401. By default, the age is not limited.
    ///
    /// A signed body stays valid for as long as its secret. With an age limit, a delivery that an
    /// attacker recorded is either remembered or too old. Retries arrive up to 9 minutes late, so 15
    /// minutes is a good choice. Events without a time are rejected, too.
    ///
    /// The age is measured with the clock of this host, which **must be synchronized**. If the
    /// clock is wrong by more than [`clock_skew`](Self::clock_skew), authentic events are rejected.
    /// These rejections are logged at `warn`, at most once a minute for each reason.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = Some(age);
        self
    }

    /// Sets how far the time of an event may be ahead of this host's clock. The default is 60 s.
    /// This matters only with a [`max_age`](Self::max_age).
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.settings.clock_skew = skew;
        self
    }

    /// Sets whether the handler runs in a separate task, so that it finishes even if the sender
    /// hangs up. The default is `false`: the handler is canceled.
    ///
    /// Use this for handlers that can take longer than the 30 s that SoundHash waits. Without it,
    /// each retry starts the work again and is canceled again. A graceful shutdown does not wait for
    /// the separate tasks.
    #[must_use]
    pub fn detach(mut self, detach: bool) -> Self {
        self.settings.detach = detach;
        self
    }

    /// Prefixes the keys of this layer with `name`, so that several layers can share one store.
    ///
    /// SoundHash's dispatcher sends an event to every endpoint that is registered for it, with the same
    /// id. If several endpoints share a store and each of them has to handle the event, give each
    /// one a scope. The portal's events name their endpoint in the body, so they differ anyway.
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

// Derives would require a store that is `Clone` and `Debug`.
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
