//! A layer that lets a handler complete each event only once, and the stores that it uses.
//!
//! [`IdempotencyLayer`]: IdempotencyLayer
#![doc = include_str!("../guide/links.txt")]
#![doc = include_str!("../../docs/guide/idempotency.md")]

// The files, in the order in which a delivery passes through them:
//
// - `layer`: the layer, with its settings in `settings` and a clock for tests in `clock`.
// - `service`: claims the event, calls the handler and records the result.
// - `key`: identifies the event.
// - `store`: the store trait, which `memory` implements.
// - `guard`: holds the claim while the handler runs.
// - `outcome`: the reasons why the layer responds without calling the handler.

#[cfg(feature = "testing")]
mod clock;
mod guard;
mod key;
mod layer;
mod memory;
mod outcome;
mod service;
mod settings;
mod store;

pub use self::{
    key::Key,
    layer::IdempotencyLayer,
    memory::MemoryStore,
    outcome::{Outcome, OutcomeKind},
    service::{Idempotency, IdempotencyFuture},
    store::{Claim, ClaimToken, IdempotencyStore},
};
