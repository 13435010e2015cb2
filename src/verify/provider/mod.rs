//! [`SecretProvider`], which provides the secrets for a request, and its implementations.
//!
//! - `cached`: secrets that are looked up by endpoint name and cached.
//! - `turns`: the order in which new names are looked up.
//! - `rotating`: secrets that change while the service runs.

#[cfg(feature = "cache")]
mod cached;
mod rotating;
#[cfg(feature = "cache")]
mod turns;

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};

use axum_core::BoxError;
use http::request;

#[cfg(feature = "cache")]
pub use self::cached::{CachedSecrets, SecretLookup};
pub use self::rotating::RotatingSecrets;
use crate::secret::Secrets;

/// Provides the secrets that are valid for a request.
///
/// The crate has three providers:
///
/// - [`Secrets`] for fixed secrets,
/// - [`RotatingSecrets`] for secrets that change while the service runs, and
/// - `CachedSecrets` (feature `cache`) for looking up the secrets of many endpoints.
///
/// Implement this trait yourself if none of these fits. The layer calls the provider for every
/// request, so a change to the secrets applies to every request whose head arrives after it.
///
/// A provider sees the head of the request, which is *not* signed. It can safely choose the secrets
/// based on the head, for example on a path segment or `X-Webhook-ID`, because a request that names
/// the wrong endpoint fails verification. Do not use the head for anything else.
///
/// # What an attacker can cost
///
/// The layer calls [`cached`](Self::cached) for every request with a single well-formed signature,
/// and [`secrets`](Self::secrets) once it has received the body within the limits. An attacker can
/// easily send such requests, so put a cache in front of an expensive lookup. If a lookup takes
/// longer than [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout), the layer responds
/// with 503.
///
/// A request for an unknown endpoint is indistinguishable from one with a wrong signature: the
/// response is the same, and the body is hashed once, as for an endpoint with one secret. Two
/// timing differences remain. The provider itself can take longer for an endpoint that exists than
/// for one that does not. Also, during a rotation, the layer hashes the body once per valid secret,
/// so an attacker who sends 1 MiB bodies can measure how many secrets there are.
///
/// ```
/// use std::collections::HashMap;
///
/// use axum::{Router, http::StatusCode, http::request, routing::post};
/// use soundhash_webhook::{BoxError, SecretProvider, Secrets, SoundHashWebhookLayer};
///
/// struct Tenants(HashMap<String, Secrets>);
///
/// impl SecretProvider for Tenants {
///     async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
///         let tenant = head.uri.path().rsplit('/').next().unwrap_or_default();
///         Ok(self.0.get(tenant).cloned())
///     }
/// }
///
/// // The names keep the events of the tenants apart, so give each its own.
/// let secrets = |tenant: &str, secret: &str| {
///     (tenant.to_owned(), Secrets::new(secret).endpoint(tenant))
/// };
/// let tenants = Tenants(HashMap::from([
///     secrets("acme", "whsec_acme"),
///     secrets("globex", "whsec_globex"),
/// ]));
/// let app: Router = Router::new()
///     .route("/webhooks/{tenant}", post(|| async { StatusCode::OK }))
///     .layer(SoundHashWebhookLayer::with_provider(tenants));
/// ```
pub trait SecretProvider: Send + Sync + 'static {
    /// Returns the secrets that are currently valid for this request, or `None` if the endpoint
    /// does not exist.
    ///
    /// If this returns `None`, the layer responds as if the signature were wrong.
    ///
    /// # Errors
    ///
    /// Returns an error if the lookup fails, or [`TooManyLookups`] if too many others are ahead of
    /// it. The layer then responds with 503, so that SoundHash retries. If this method panics, the
    /// layer responds with 503, too.
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;

    /// Returns the secrets if they are available without waiting, for example from a cache.
    ///
    /// The layer calls this method before it receives the body. If the method returns secrets, the
    /// layer hashes the body while it arrives. If it returns `None`, which is the default, the
    /// layer receives the whole body, calls [`secrets`](Self::secrets), and then hashes the body.
    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        let _ = head;
        None
    }
}

/// The error of a [`SecretProvider`] that limits its lookups, as `CachedSecrets` does, for a lookup
/// that would have to wait for too many others.
///
/// Invented names of endpoints can cause this error, so the layer logs it at `warn`, with
/// [`RejectionKind::TooManyLookups`](crate::RejectionKind::TooManyLookups). Any other error counts
/// as a failure of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLookups;

impl fmt::Display for TooManyLookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many lookups wait")
    }
}

impl Error for TooManyLookups {}

/// A type-erased [`SecretProvider`], for a provider that is chosen at runtime.
///
/// ```
/// use soundhash_webhook::{
///     BoxSecretProvider, RotatingSecrets, Secrets, SoundHashWebhookLayer,
/// };
///
/// # let rotates = true;
/// let secrets = Secrets::new("whsec_test");
/// let provider = match rotates {
///     true => BoxSecretProvider::new(RotatingSecrets::new(secrets)),
///     false => BoxSecretProvider::new(secrets),
/// };
/// let layer = SoundHashWebhookLayer::with_provider(provider);
/// ```
pub struct BoxSecretProvider(Box<dyn DynProvider>);

type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Secrets>, BoxError>> + Send + 'a>>;

trait DynProvider: Send + Sync {
    fn secrets<'a>(&'a self, head: &'a request::Parts) -> BoxFuture<'a>;
    fn cached(&self, head: &request::Parts) -> Option<Secrets>;
}

impl<P: SecretProvider> DynProvider for P {
    fn secrets<'a>(&'a self, head: &'a request::Parts) -> BoxFuture<'a> {
        Box::pin(SecretProvider::secrets(self, head))
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        SecretProvider::cached(self, head)
    }
}

impl BoxSecretProvider {
    /// Erases the type of `provider`.
    #[must_use]
    pub fn new(provider: impl SecretProvider) -> Self {
        Self(Box::new(provider))
    }
}

impl SecretProvider for BoxSecretProvider {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        self.0.secrets(head).await
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        self.0.cached(head)
    }
}

impl fmt::Debug for BoxSecretProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxSecretProvider").finish_non_exhaustive()
    }
}

impl<P: SecretProvider> SecretProvider for Arc<P> {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        P::secrets(self, head).await
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        P::cached(self, head)
    }
}

/// Returns the same secrets for every request.
impl SecretProvider for Secrets {
    async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        Ok(Some(self.clone()))
    }

    fn cached(&self, _: &request::Parts) -> Option<Secrets> {
        Some(self.clone())
    }
}
