//! The idempotency layer, its stores, and a fleet of processes.

#[cfg(feature = "redis")]
mod fleet;
mod guard;
mod key;
mod layer;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod model;
#[cfg(feature = "redis")]
mod redis;
mod service;
mod store_conformance;
mod support;
