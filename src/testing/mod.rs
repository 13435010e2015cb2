//! Signed requests, sample events and attacks for testing your application (feature `testing`).
//!
//! Enable the feature only for your tests:
//!
//! ```toml
//! [dev-dependencies]
//! soundhash-webhook = { version = "0.1", features = ["testing"] }
//! ```
//!
//! - [`SignedRequest`] builds a request like those that SoundHash sends, from a [`sample()`], a
//!   [`fresh_sample()`], your own JSON or a recorded request.
//! - [`hostile_requests`] checks that your application rejects requests from an attacker and
//!   accepts those from SoundHash.
//! - [`store_conformance()`] tests your own idempotency store.
//!
//! If a signature should match but does not, the crate `soundhash-webhook-diagnose` explains why.
//!
//! A test cannot create a [`Delivery`](crate::Delivery) directly. It has to send a signed request
//! through the layer.

mod fresh_sample;
mod hostile;
mod python;
mod sample;
mod signed_request;
mod store_conformance;

pub use self::{
    fresh_sample::fresh_sample,
    hostile::{
        Failure, FailureKind, FailureReport, HostileRequest, HostileRequests, hostile_requests,
    },
    sample::sample,
    signed_request::{CaptureError, CaptureErrorKind, SignedRequest},
    store_conformance::store_conformance,
};
