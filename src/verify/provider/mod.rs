//! Looks up the secrets of a request.

use std::{future, future::Future, sync::Arc};

use axum_core::BoxError;
use http::request;

use crate::secret::Secrets;

/// Looks up the secrets of the endpoint that a request is for.
///
/// Implement it where there are many endpoints or tenants, each with its own secret, or
/// where secrets change while the service runs: it is asked for every request, so what it
/// answers from now on is what is valid from now on.
///
/// It sees the request's head, which is *not* signed. The head may choose the secret, by a
/// path segment or by `X-Webhook-ID` for example, since a wrong choice only fails the
/// verification; it proves nothing by itself.
///
/// It is asked only about requests with one well-formed signature and no body declared over
/// the limit. Anybody can send those, so cache what is expensive, and give a remote look-up
/// a deadline of its own: the layer's `body_timeout` covers the body only.
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
    /// The secrets that are valid for this request now; `None` if there is no such
    /// endpoint, which is answered like a wrong signature.
    ///
    /// # Errors
    ///
    /// When the look-up itself fails. The request is answered with 503, so that SoundHash
    /// sends it again.
    fn secrets(
        &self,
        head: &request::Parts,
    ) -> impl Future<Output = Result<Option<Secrets>, BoxError>> + Send;

    /// The secrets, if they are at hand without waiting: a cache's hit, for example.
    ///
    /// Asked first; `None`, the default, leads to [`secrets`](Self::secrets), whose future
    /// costs an allocation.
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
