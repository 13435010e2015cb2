//! The idempotency layer and `MemoryStore`.

mod guard;
mod key;
pub(crate) mod layer;
mod memory;
mod service;
mod store_conformance;
pub(crate) mod support;
