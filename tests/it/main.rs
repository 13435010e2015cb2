//! Tests the crate through its public API, in a single binary.

mod event;
mod examples;
mod extract;
mod idempotency;
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
