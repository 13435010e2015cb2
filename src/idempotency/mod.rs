//! A layer that lets a handler complete each event once, and the stores that hold its claims.
//!
//! [`IdempotencyLayer`]: IdempotencyLayer
#![doc = include_str!("../guide/links.txt")]
#![doc = include_str!("../../docs/guide/idempotency.md")]

// The files, in the order in which a delivery passes through them:
//
// - `layer`: the layer. `settings` has its settings, and `clock` a setting for tests.
// - `service`: claims the event, calls the handler and records how it ended.
// - `key`: identifies the event.
// - `store`: the trait of a store. `memory` implements it.
// - `guard`: holds the claim while the handler runs.
// - `outcome`: the reasons for which the layer responds in place of the handler.

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
