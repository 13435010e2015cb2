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
/// layer asks it for every request, so an answer takes effect at once.
///
/// A provider sees the request's head, which is *not* signed. The head may choose the secret, by a
/// path segment or by `X-Webhook-ID` for example, because a wrong choice only fails the
/// verification. It proves nothing by itself.
///
/// # What an attacker can cost
///
/// The layer asks only about requests with one well-formed signature and a body that was received
/// within the limits. An attacker can send those. So cache what is expensive and return it from
/// [`cached`](Self::cached): other look-ups start after the body has been received, and end with a
/// 503 after [`lookup_timeout`](crate::SoundHashWebhookLayer::lookup_timeout).
///
/// An unknown endpoint is answered like a wrong signature, and its body is hashed like that of an
/// endpoint with one secret. Two differences in time remain: the provider's own for an endpoint
/// that exists and one that does not, and the hash of each further secret during a rotation. With
/// bodies of 1 MiB an attacker can measure how many secrets an endpoint has.
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
    /// Returns the secrets that are valid for this request now, or `None` if there is no such
    /// endpoint. The request is then answered like one with a wrong signature.
    ///
    /// # Errors
    ///
    /// Returns an error if the look-up fails. The request is answered with 503, so that SoundHash
    /// retries.
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;

    /// Returns the secrets if they are at hand without waiting, such as a cache's hit.
    ///
    /// The layer calls this first and hashes the body while it arrives. After `None`, the default,
    /// the layer receives the body, calls [`secrets`](Self::secrets) and hashes the body then.
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
