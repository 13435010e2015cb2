//! The layer and its settings.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    limits::{LONGEST_TIMEOUT, Limits},
    provider::SecretProvider,
    service::SoundHashWebhook,
};
use crate::secret::{IntoSecret, Secrets};

/// A [`Layer`] that lets only authentic SoundHash deliveries through.
///
/// The layer receives the body and checks the `X-Webhook-Signature` header against it. The inner
/// service gets the request with the same head, the verified bytes as its body, and a
/// [`Delivery`](crate::Delivery) in its extensions, from which handlers extract an
/// [`Event`](crate::Event). The layer responds to every other request itself, with a status that
/// [`RejectionKind`](crate::RejectionKind) lists.
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
/// The layer rejects a request without exactly one well-formed signature before it waits for the
/// body. A request with a well-formed signature can occupy up to
/// [`max_body_size`](Self::max_body_size) bytes for up to [`body_timeout`](Self::body_timeout). All
/// unfinished bodies together occupy at most [`max_buffered`](Self::max_buffered) bytes, which the
/// clones of a layer share.
///
/// Over HTTP/1, the layer reads the remainder of a rejected body while the response is sent, so
/// that an honest sender can read the response instead of a connection reset. This is limited to
/// bodies with a declared length of up to 8 MiB, to 5 s, and to 16 bodies at a time. In all other
/// cases, and after a rejected body of more than 64 KiB, the server closes the connection.
pub struct SoundHashWebhookLayer<P = Secrets> {
    provider: Arc<P>,
    limits: Arc<Limits>,
}

impl SoundHashWebhookLayer {
    /// Accepts deliveries that are signed with `secret`.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is an empty string or slice, as [`Secret::new`](crate::Secret::new) does.
    #[must_use]
    #[track_caller]
    pub fn new(secret: impl IntoSecret) -> Self {
        Self::with_provider(Secrets::new(secret))
    }

    /// Also accepts deliveries that are signed with `secret`, the previous secret of a rotation.
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
    /// Accepts deliveries that are signed with the secrets that `provider` returns for the
    /// request.
    #[must_use]
    pub fn with_provider(provider: P) -> Self {
        Self {
            provider: Arc::new(provider),
            limits: Arc::default(),
        }
    }

    /// Sets the maximum length of a body in bytes. The default is 1 MiB.
    ///
    /// A longer body gets a 413. If the `Content-Length` is over the limit, the layer responds before
    /// it reads the body.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.limits_mut().max_body_size = bytes;
        self
    }

    /// Sets the time that a body may take to arrive. The default is 10 s.
    ///
    /// The time starts when the layer first has to wait for the body. If the body takes longer, the
    /// layer responds with 408.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits_mut().body_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Sets the time that [`SecretProvider::secrets`] may take. The default is 5 s.
    ///
    /// If the lookup takes longer, the layer responds with 503, so that SoundHash retries.
    #[must_use]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.limits_mut().lookup_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Sets the memory in bytes that all unfinished bodies may occupy together. The default is
    /// 32 MiB.
    ///
    /// The memory includes the server's buffers for a connection, so a body costs more than its
    /// bytes. A delivery that arrives in one piece, with secrets that are known or cached, does not
    /// count at all. If a body does not fit, the body that has gone longest without progress gets a
    /// 503 with `Retry-After`, so that an attacker who stalls does not keep honest senders out.
    ///
    /// A body that is longer than the whole memory and arrives in several pieces also gets a 503, so
    /// set this to several times [`max_body_size`](Self::max_body_size).
    ///
    /// Clones of a layer share the memory. Setting it on one of them sets it for all.
    #[must_use]
    pub fn max_buffered(self, bytes: usize) -> Self {
        self.limits.budget.set_limit(bytes);
        self
    }

    /// Sets whether the response to a rejected request states the reason. The default is `false`.
    ///
    /// Use this on a staging system only. The reasons tell an attacker which endpoints exist and
    /// which check a forged request failed. By default, every 401 is the same, and only the log and
    /// the response's extensions have the reason.
    #[must_use]
    pub fn explain_rejections(mut self, explain: bool) -> Self {
        self.limits_mut().explain_rejections = explain;
        self
    }

    /// Sets whether the layer checks that SoundHash can decode the handler's responses. The default
    /// is `true` in debug builds and `false` in release builds.
    ///
    /// SoundHash decodes the body of every response as text. A 2xx with a body that is not UTF-8, or
    /// with a wrong charset or `Content-Encoding`, counts as a failure, and the event comes again. The
    /// layer logs the first such response at `warn`. It checks a body while the body is sent, and
    /// neither buffers nor changes it.
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

// Derives would require a provider that is `Clone` and `Debug`.
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
