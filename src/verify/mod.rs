//! From a request that anybody can send to a [`Delivery`](crate::Delivery).
//!
//! `service` decides on the head, `provider` names the secrets, `receive` hashes the body
//! while it arrives, `future` runs one after the other and then the inner service.

mod budget;
mod buffer;
mod future;
mod layer;
mod provider;
mod receive;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::SoundHashWebhookLayer,
    provider::{SecretProvider, StaticSecrets},
    service::SoundHashWebhook,
};
