//! The layer and its settings.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    limits::{LONGEST_TIMEOUT, Limits},
    provider::SecretProvider,
    service::SoundHashWebhook,
};
use crate::{
    event::EventKind,
    rejection::RejectionKind,
    secret::{IntoSecret, Secrets},
    telemetry,
};

/// A [`Layer`] that lets only authentic SoundHash deliveries through.
///
/// The layer receives the body and checks the `X-Webhook-Signature` header against it. If the
/// signature matches, the inner service gets the request with an unchanged head, the verified bytes
/// as its body, and a [`Delivery`](crate::Delivery) in its extensions. Handlers can then extract an
/// [`Event`](crate::Event). Otherwise, the layer responds with an error status and does not call
/// the inner service. [`RejectionKind`] lists the reasons.
///
/// ```
/// use std::time::Duration;
///
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{Event, SoundHashWebhookLayer};
///
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
///     .layer(
///         SoundHashWebhookLayer::new("whsec_new")
///             .previous_secret("whsec_old")
///             .max_body_size(256 * 1024)
///             .body_timeout(Duration::from_secs(5)),
///     );
/// ```
///
/// # What an attacker can cost
///
/// A request that does not have exactly one well-formed signature is rejected before its body is
/// received. Any other request can occupy up to [`max_body_size`](Self::max_body_size) bytes of
/// memory for up to [`body_timeout`](Self::body_timeout). The unfinished bodies of a layer and its
/// clones occupy at most [`max_buffered`](Self::max_buffered) bytes in total.
///
/// An attacker who has recorded a delivery can repeat it. At most 64 copies of it are handled at a
/// time.
///
/// Over HTTP/1, the layer reads and discards the remainder of a rejected body while the response is
/// sent, so that an honest sender gets the response instead of a connection reset. The layer drains
/// only bodies with a declared length of up to 8 MiB, for up to 5 s, and up to 16 of them at a
/// time. In all other cases, and after a rejected body of more than 64 KiB, the server closes the
/// connection.
pub struct SoundHashWebhookLayer<P = Secrets> {
    provider: Arc<P>,
    limits: Arc<Limits>,
}

impl SoundHashWebhookLayer {
    /// Creates a layer that accepts deliveries signed with `secret`.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is an empty string or slice, as [`Secret::new`](crate::Secret::new) does.
    #[must_use]
    #[track_caller]
    pub fn new(secret: impl IntoSecret) -> Self {
        Self::with_provider(Secrets::new(secret))
    }

    /// Also accepts deliveries signed with `secret`, the previous secret during a rotation.
    ///
    /// [`Delivery::matched_secret`](crate::Delivery::matched_secret) shows when the previous
    /// secret is no longer in use.
    ///
    /// # Panics
    ///
    /// Panics if more than four secrets are valid at once, or if `secret` is empty.
    #[must_use]
    #[track_caller]
    pub fn previous_secret(mut self, secret: impl IntoSecret) -> Self {
        let secrets = Secrets::clone(&self.provider);
        self.provider = Arc::new(secrets.previous(secret));
        self
    }
}

impl<P: SecretProvider> SoundHashWebhookLayer<P> {
    /// Creates a layer that accepts deliveries signed with any of the secrets that `provider`
    /// returns for the request.
    #[must_use]
    pub fn with_provider(provider: P) -> Self {
        let types = EventKind::ALL.iter().map(|kind| kind.as_str());
        telemetry::start_verification(RejectionKind::NAMES, types);
        Self {
            provider: Arc::new(provider),
            limits: Arc::default(),
        }
    }

    /// Sets the maximum length of a body in bytes. The default is 1 MiB.
    ///
    /// The layer responds to a longer body with 413. If the `Content-Length` is over the limit, it
    /// does so without reading the body.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.limits_mut().max_body_size = bytes;
        self
    }

    /// Sets how long a body may take to arrive. The default is 10 s.
    ///
    /// The timeout starts when the layer first has to wait for the body. When it expires, the layer
    /// responds with 408.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits_mut().body_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Sets how long [`SecretProvider::secrets`] may take. The default is 5 s.
    ///
    /// If the lookup takes longer, the layer responds with 503, so that SoundHash retries. With
    /// `CachedSecrets`, do not choose less than the default: 4 s are for waiting for other lookups,
    /// which an attacker can cause, and the rest is for the lookup itself. If that takes too long, it
    /// counts as a failure of this service.
    #[must_use]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.limits_mut().lookup_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Sets how many bytes of memory all unfinished bodies may occupy in total. The default is 32
    /// MiB.
    ///
    /// A body counts as more than its own bytes, because the server's buffers for its connection
    /// are included. A delivery that arrives in one piece does not count at all if its secrets are
    /// known or cached. If a body does not fit, the request whose body has gone longest without
    /// progress gets a 503 with `Retry-After`, so that an attacker cannot lock out honest senders
    /// by stalling.
    ///
    /// Set this to several times [`max_body_size`](Self::max_body_size). A single body that is
    /// larger than this limit and arrives in several pieces gets a 503.
    ///
    /// Clones of a layer share this limit, so setting it on one of them sets it for all.
    #[must_use]
    pub fn max_buffered(self, bytes: usize) -> Self {
        self.limits.shared.budget.set_limit(bytes);
        self
    }

    /// Sets whether the response to a rejected request states the reason. The default is `false`.
    ///
    /// Turn this on only in a staging system, because the reasons tell an attacker which endpoints
    /// exist and which check a forged request failed. By default, all 401 responses are the same,
    /// and the reason is only in the log and in the response's extensions. The 401 responses of an
    /// `IdempotencyLayer` never state it.
    #[must_use]
    pub fn explain_rejections(mut self, explain: bool) -> Self {
        self.limits_mut().explain_rejections = explain;
        self
    }

    /// Sets whether the layer checks that SoundHash can decode the handler's responses. The default
    /// is `true` in debug builds and `false` in release builds.
    ///
    /// SoundHash decodes every response body as text. If it cannot decode the body of a 2xx,
    /// because it is not UTF-8 or has a wrong charset or `Content-Encoding`, SoundHash records a
    /// failure and resends the event. The layer logs the first such response at `warn`. The check
    /// runs while the body is sent, and neither buffers nor changes it.
    ///
    /// ```
    /// use soundhash_webhook::SoundHashWebhookLayer;
    ///
    /// let layer = SoundHashWebhookLayer::new("whsec_test").check_responses(true);
    /// ```
    #[must_use]
    pub fn check_responses(mut self, check: bool) -> Self {
        self.limits_mut().check_responses = check;
        self
    }

    fn limits_mut(&mut self) -> &mut Limits {
        Arc::make_mut(&mut self.limits)
    }
}

impl<S, P> Layer<S> for SoundHashWebhookLayer<P> {
    type Service = SoundHashWebhook<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        SoundHashWebhook::new(inner, self.provider.clone(), self.limits.clone())
    }
}

// Derives would require `P` to be `Clone` and `Debug`.
impl<P> Clone for SoundHashWebhookLayer<P> {
    fn clone(&self) -> Self {
        Self {
            provider: self.provider.clone(),
            limits: self.limits.clone(),
        }
    }
}

impl<P> fmt::Debug for SoundHashWebhookLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoundHashWebhookLayer")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
