//! Tests of the crate from its users' point of view, in one binary and with the public API only.

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
