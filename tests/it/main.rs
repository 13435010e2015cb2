//! The crate as its users see it: one test binary, public API only.

mod drain;
mod event;
mod examples;
mod extract;
mod hostile;
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
mod testing;
mod vectors;

use soundhash_webhook_tests::process;
