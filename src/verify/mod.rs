//! Verifies requests: from the bytes that anybody can send to a [`Delivery`](crate::Delivery).
//!
//! In the order a request meets them: `layer` has the settings, `service` checks the head,
//! `future` receives the body, looks up the secrets and calls the inner service. `body` reads the
//! body while it is hashed, `budget` bounds what unfinished bodies hold together, `provider` names
//! the secrets, and `drain` reads what is left of a rejected body.

mod body;
mod budget;
mod drain;
mod future;
mod layer;
mod provider;
mod service;

#[cfg(feature = "cache")]
pub use self::provider::{CachedSecrets, SecretLookup};
pub use self::{
    future::ResponseFuture,
    layer::SoundHashWebhookLayer,
    provider::{RotatingSecrets, SecretProvider},
    service::SoundHashWebhook,
};
