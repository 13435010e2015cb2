//! The crate as its users see it: one test binary, public API only.

mod diagnose;
mod event;
mod examples;
mod extract;
mod hostile_requests;
mod idempotency;
mod more_examples;
mod readme;
mod router;
mod secret;
mod security;
mod support;
mod telemetry;
mod vectors;
mod verify;

use soundhash_webhook_tests::process;
