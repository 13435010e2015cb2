use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{budget::Budget, provider::SecretProvider, service::SoundHashWebhook};
use crate::{
    secret::{IntoSecret, Secrets},
    telemetry::RejectionLog,
};

/// A [`Layer`] that lets only authentic SoundHash deliveries through.
///
/// It receives the body, checks the `X-Webhook-Signature` header against it and hands the
/// request on: with the same head, the verified bytes as its body, and a
/// [`Delivery`](crate::Delivery) that an [`Event`](crate::Event) can be taken from.
/// Everything else it answers itself (see [`RejectionKind`](crate::RejectionKind)).
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
/// # What a stranger can cost
///
/// A request without exactly one well-formed signature is answered before a byte of its
/// body is waited for. Of others, each may hold [`max_body_size`](Self::max_body_size) bytes for
/// [`body_timeout`](Self::body_timeout), and all together
/// [`max_buffered`](Self::max_buffered) bytes, and as many that are just arriving. The clones of a layer share that buffer.
///
/// What is still sent after a refusal is read and thrown away while the answer is on its way, up
/// to 8 MiB and for up to 5 s, for an honest sender to read the answer and not a reset. It is
/// not over HTTP/2, where it need not be, and where `Expect: 100-continue` holds the body back.
pub struct SoundHashWebhookLayer<P = Secrets> {
    pub(super) provider: Arc<P>,
    pub(super) limits: Limits,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_body_size: usize,
    pub(super) body_timeout: Duration,
    pub(super) budget: Arc<Budget>,
    pub(super) rejections: Arc<RejectionLog>,
}

impl SoundHashWebhookLayer {
    /// Accepts what was signed with `secret`.
    ///
    /// # Panics
    ///
    /// If `secret` is a string or bytes and empty, as [`Secret::new`](crate::Secret::new) does.
    #[must_use]
    #[track_caller]
    pub fn new(secret: impl IntoSecret) -> Self {
        Self::with_provider(Secrets::new(secret))
    }

    /// Also accepts what was signed with `secret`, which was valid before: for the time of
    /// a rotation. [`Delivery::matched_secret`](crate::Delivery::matched_secret) tells when
    /// it is no longer used.
    ///
    /// # Panics
    ///
    /// If more than four secrets are valid at once, or `secret` is empty.
    #[must_use]
    #[track_caller]
    pub fn previous_secret(mut self, secret: impl IntoSecret) -> Self {
        self.provider = Arc::new(Secrets::clone(&self.provider).previous(secret));
        self
    }
}

impl<P: SecretProvider> SoundHashWebhookLayer<P> {
    /// Accepts what was signed with the secrets that `provider` names for the request.
    #[must_use]
    pub fn with_provider(provider: P) -> Self {
        Self {
            provider: Arc::new(provider),
            limits: Limits {
                max_body_size: 1024 * 1024,
                body_timeout: Duration::from_secs(10),
                budget: Budget::new(64 * 1024 * 1024),
                rejections: Arc::default(),
            },
        }
    }

    /// The longest body that is accepted, in bytes: 1 MiB by default.
    ///
    /// A longer one is answered with 413, and at once where its `Content-Length` says so.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.limits.max_body_size = bytes;
        self
    }

    /// How long a body may take to arrive completely: 10 s by default.
    ///
    /// The time runs from the moment the body has to be waited for; when it is over, the
    /// request is answered with 408.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        // So that there is an instant at which it is over.
        self.limits.body_timeout = timeout.min(YEAR);
        self
    }

    /// The most bytes that the unfinished bodies of all requests may hold together: 64 MiB
    /// by default.
    ///
    /// A body counts only while more of it is waited for. One that does not fit has a tenth of
    /// a second to arrive completely, so that a delivery that is sent in one go is served
    /// however many slow ones are open; after that it is answered with 503 and `Retry-After`.
    /// All that arrive in this way together may hold as many bytes again.
    #[must_use]
    pub fn max_buffered(mut self, bytes: usize) -> Self {
        self.limits.budget = Budget::new(bytes);
        self
    }
}

impl<S, P> Layer<S> for SoundHashWebhookLayer<P> {
    type Service = SoundHashWebhook<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        SoundHashWebhook {
            inner,
            layer: self.clone(),
        }
    }
}

// Not derived: a provider need be neither `Clone` nor `Debug`.
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
