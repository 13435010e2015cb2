//! From a request that anybody can send to a [`Delivery`](crate::Delivery).
//!
//! `service` decides on the head, `provider` names the secrets, `receive` hashes the body
//! while it arrives, `wait` bounds how long it may take and what it may hold meanwhile, and
//! `future` runs one after the other and then the inner service. `drain` is for the body of a
//! request that was refused.

mod budget;
mod buffer;
mod drain;
mod future;
mod layer;
mod provider;
mod receive;
mod service;
mod wait;

#[cfg(feature = "cache")]
pub use self::provider::{CachedSecrets, SecretLookup};
pub use self::{
    future::ResponseFuture,
    layer::SoundHashWebhookLayer,
    provider::{RotatingSecrets, SecretProvider},
    service::SoundHashWebhook,
};
