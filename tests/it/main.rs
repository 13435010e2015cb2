//! The crate as its users see it: one test binary, public API only.

mod diagnose;
mod drain;
mod event;
mod examples;
mod extract;
mod hostile;
mod hostile_requests;
mod idempotency;
mod layer;
mod more_examples;
mod provider;
mod readme;
mod router;
mod secret;
mod security;
mod support;
mod telemetry;
mod vectors;

use soundhash_webhook_tests::process;
