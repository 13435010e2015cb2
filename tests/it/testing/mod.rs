//! The module `testing`, which the crate offers for the tests of applications.

mod hostile_requests;
mod sample;
mod signed_request;
