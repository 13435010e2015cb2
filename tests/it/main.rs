//! The crate as its users see it: one test binary, public API only.

mod diagnose;
mod events;
mod examples;
mod extract;
mod idempotency;
mod layer;
mod more_examples;
mod process;
mod provider;
mod secret;
mod support;
mod telemetry;
mod vectors;
