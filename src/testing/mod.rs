//! Signed requests, samples and attacks for the tests of your application (feature `testing`).
//!
//! Turn the feature on for your tests only:
//!
//! ```toml
//! [dev-dependencies]
//! soundhash-webhook = { version = "0.1", features = ["testing"] }
//! ```
//!
//! - [`SignedRequest`] builds a request as SoundHash sends it, from a [`sample`], a
//!   [`fresh_sample`], your own JSON or a recorded request.
//! - [`hostile_requests`] checks that your application rejects an attacker's requests and accepts
//!   SoundHash's.
//! - [`store_conformance`] tests an idempotency store of your own.
//!
//! The crate `soundhash-webhook-diagnose` explains a signature that should match but does not.
//!
//! A test cannot create a [`Delivery`](crate::Delivery) directly. It sends a signed request through
//! the layer, as SoundHash does.

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
