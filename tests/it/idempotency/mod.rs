//! The idempotency layer and the store in memory.

mod guard;
mod key;
mod layer;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod service;
mod store_conformance;
pub(crate) mod support;
