//! The crate as its users see it: one test binary, public API only.

mod event;
mod examples;
mod extract;
mod idempotency;
mod more_examples;
mod readme;
mod router;
mod secret;
mod security;
mod support;
mod telemetry;
mod testing;
mod vectors;
mod verify;

use soundhash_webhook_tests::process;
