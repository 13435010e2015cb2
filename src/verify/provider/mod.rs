//! The secrets of a request: [`SecretProvider`], and the ready-made ones.

#[cfg(feature = "cache")]
mod cached;
mod rotating;

use std::{future, future::Future, sync::Arc};

use axum_core::BoxError;
use http::request;

#[cfg(feature = "cache")]
pub use self::cached::{CachedSecrets, SecretLookup};
pub use self::rotating::RotatingSecrets;
use crate::secret::Secrets;

/// Names the secrets that are valid for a request.
///
/// Three providers are ready-made: [`Secrets`] for fixed secrets, [`RotatingSecrets`] for
/// secrets that change while the service runs, and `CachedSecrets` (feature `cache`) for many
/// endpoints or tenants whose secrets are looked up. Implement the trait for anything else. The
/// layer asks for every request, so an answer takes effect at once.
///
/// A provider sees the request's head, which is *not* signed. The head can choose the secrets, by
/// a path segment or by `X-Webhook-ID` for example, because a wrong choice only makes the
/// verification fail. The head proves nothing by itself.
///
/// The layer asks only about requests that have one well-formed signature and declare no body
/// over the limit. An attacker can send such requests too, so cache what is expensive.
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
    /// Returns the secrets that are valid for this request now, or `None` if the
    /// endpoint does not exist. The layer rejects an unknown endpoint like a wrong signature.
    ///
    /// # Errors
    ///
    /// Returns an error if the look-up fails. The layer then answers 503, so that SoundHash
    /// retries.
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;

    /// Returns the secrets if they are available without waiting, from a cache for example.
    ///
    /// The layer calls this first. If it returns `None`, as the default does, the layer calls
    /// [`secrets`](Self::secrets).
    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        let _ = head;
        None
    }
}

impl<P: SecretProvider> SecretProvider for Arc<P> {
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send {
        P::secrets(self, head)
    }

    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        P::cached(self, head)
    }
}

/// Accepts the same secrets for every request.
impl SecretProvider for Secrets {
    fn secrets(
        &self,
        _: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send {
        future::ready(Ok(Some(self.clone())))
    }

    fn cached(&self, _: &request::Parts) -> Option<Secrets> {
        Some(self.clone())
    }
}
