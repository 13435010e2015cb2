//! Verifies requests, and turns authentic ones into a [`Delivery`](crate::Delivery).
//!
//! The files, in the order in which a request passes through them:
//!
//! - `layer`: the layer, `limits`: its settings, and `shared`: the state that its clones share.
//! - `service`: the service, which checks the head.
//! - `provider`: the source of the secrets, and `keys`: the secrets of the request.
//! - `future`: receives the body, verifies it, and calls the inner service.
//! - `body`: receives the body within the limits, and passes each frame to the hash.
//! - `budget`: limits the total memory of unfinished bodies.
//! - `copies`: limits how many copies of one delivery are handled at a time.
//! - `drain`: reads the rest of a rejected body.
//! - `response`: detects handler responses that SoundHash cannot decode.

mod body;
mod budget;
mod copies;
mod drain;
mod future;
mod keys;
mod layer;
mod limits;
mod provider;
mod response;
mod service;
mod shared;

#[cfg(feature = "cache")]
pub use self::provider::{CachedSecrets, SecretLookup};
pub use self::{
    future::ResponseFuture,
    layer::SoundHashWebhookLayer,
    provider::{BoxSecretProvider, RotatingSecrets, SecretProvider, TooManyLookups},
    service::SoundHashWebhook,
};
