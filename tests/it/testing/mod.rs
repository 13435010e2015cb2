//! `testing`: what the crate offers for tests of your own handlers.

mod diagnose;
mod hostile_requests;
mod signed_request;
