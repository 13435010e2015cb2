//! What a test of your own handler needs (feature `testing`).
//!
//! Switch the feature on for your tests only:
//!
//! ```toml
//! [dev-dependencies]
//! soundhash-webhook = { version = "0.1", features = ["testing"] }
//! ```
//!
//! Whether an application refuses what a stranger sends, and loses nothing that SoundHash sends,
//! [`hostile_requests`] tell. For a signature that should match and does not, [`diagnose`] knows
//! the usual mistakes.
//!
//! Nothing here can make a [`Delivery`](crate::Delivery): a test sends a signed request
//! through the layer, as SoundHash does.

mod diagnose;
mod fresh_sample;
mod hostile;
mod sample;
mod signed_request;
mod store_conformance;

pub use self::{
    diagnose::{Diagnosis, DiagnosisKind, diagnose},
    fresh_sample::fresh_sample,
    hostile::{Failure, FailureKind, HostileRequest, HostileRequests, hostile_requests},
    sample::{Sender, UnknownSender, sample},
    signed_request::{CaptureError, CaptureErrorKind, SignedRequest},
    store_conformance::store_conformance,
};
