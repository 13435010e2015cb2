//! The `testing` module, which applications use to test their webhooks.

mod hostile_requests;
mod sample;
mod signed_request;
