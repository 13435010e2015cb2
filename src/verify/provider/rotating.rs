//! Secrets that can be replaced while the service runs.

use std::sync::{Arc, PoisonError, RwLock};

use axum_core::BoxError;
use http::request;

use super::SecretProvider;
use crate::secret::Secrets;

/// A [`SecretProvider`] whose secrets can be replaced without a restart.
///
/// Clones share the secrets. Pass one clone to the layer, and keep another to call
/// [`set`](Self::set). Each request is verified either with the old secrets or with the new ones.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{RotatingSecrets, Secrets, SoundHashWebhookLayer};
///
/// let secrets = RotatingSecrets::new(Secrets::new("whsec_old"));
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(|| async { StatusCode::OK }))
///     .layer(SoundHashWebhookLayer::with_provider(secrets.clone()));
///
/// // Later, when the configuration has changed:
/// secrets.set(Secrets::new("whsec_new").previous("whsec_old"));
/// ```
#[derive(Clone, Debug)]
pub struct RotatingSecrets(Arc<RwLock<Secrets>>);

impl RotatingSecrets {
    /// Creates a provider that starts with `secrets`.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self(Arc::new(RwLock::new(secrets)))
    }

    /// Replaces the secrets in all clones, for every request whose head arrives from now on.
    pub fn set(&self, secrets: Secrets) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    fn get(&self) -> Secrets {
        // No code panics while it holds the lock, so poisoning can be ignored.
        Secrets::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SecretProvider for RotatingSecrets {
    async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        Ok(Some(self.get()))
    }

    fn cached(&self, _: &request::Parts) -> Option<Secrets> {
        Some(self.get())
    }
}
