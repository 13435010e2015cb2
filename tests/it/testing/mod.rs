//! The `testing` module, with which applications test their webhooks.

mod hostile_requests;
mod sample;
mod signed_request;
