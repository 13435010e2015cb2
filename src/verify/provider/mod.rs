//! The source of a request's secrets: [`SecretProvider`] and its implementations.
//!
//! - `cached`: a cache in front of secrets that are looked up by name.
//! - `rotating`: secrets that change while the service runs.

#[cfg(feature = "cache")]
mod cached;
mod rotating;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

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
/// - [`Secrets`], for fixed secrets,
/// - [`RotatingSecrets`], for secrets that change while the service runs,
/// - `CachedSecrets` (feature `cache`), for many endpoints or tenants whose secrets are looked up.
///
/// Implement the trait for anything else. The layer calls the provider for every request, so a
/// change takes effect at once.
///
/// A provider sees the request's head, which is *not* signed. It can use the head to choose the
/// secret, for example by a path segment or by `X-Webhook-ID`, because a request that names the
/// wrong endpoint fails the verification. Do not use the head for anything else.
///
/// # What an attacker can cost
///
/// The layer calls [`cached`](Self::cached) for requests with one well-formed signature, and
/// [`secrets`](Self::secrets) once the body has also been received within the limits. An attacker
/// can send such requests, so put a cache in front of an expensive lookup. A lookup that takes
/// longer than [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout) gets a 503.
///
/// The layer responds to a request for an unknown endpoint as if the signature were wrong, and
/// hashes the body once, as for an endpoint with one secret. Two differences in time remain. The
/// provider itself can take longer for an endpoint that exists than for one that does not. During a
/// rotation, the layer also hashes the body once for each further secret, so that an attacker with
/// bodies of 1 MiB can measure how many secrets an endpoint has.
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
/// let tenants = Tenants(HashMap::from([("acme".into(), Secrets::new("whsec_acme"))]));
/// let app: Router = Router::new()
///     .route("/webhooks/{tenant}", post(|| async { StatusCode::OK }))
///     .layer(SoundHashWebhookLayer::with_provider(tenants));
/// ```
pub trait SecretProvider: Send + Sync + 'static {
    /// Returns the secrets that are valid for this request now, or `None` if the endpoint does not
    /// exist.
    ///
    /// If this returns `None`, the layer responds as if the signature were wrong.
    ///
    /// # Errors
    ///
    /// Returns an error if the lookup fails. The layer then responds with 503, so that SoundHash
    /// retries.
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;

    /// Returns the secrets if they are available without waiting, for example from a cache.
    ///
    /// The layer calls this method before it receives the body. If this returns secrets, the layer
    /// hashes the body while it arrives. If it returns `None`, as by default, the layer first
    /// receives the body, then calls [`secrets`](Self::secrets), and then hashes the body.
    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        let _ = head;
        None
    }
}

/// A [`SecretProvider`] whose type is erased, for a provider that is chosen at run time.
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
