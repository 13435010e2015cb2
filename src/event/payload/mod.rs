//! The payloads: one type each, whatever sender and spelling.
//!
//! Required is what every spelling of a type promises; unknown fields are passed over. A type
//! with several spellings is read through a `…Fields` struct that has a member for each, since
//! a payload may carry two spellings of one field at once.

mod account;
mod catalog;
mod matches;
mod video;

use std::fmt;

pub use self::{
    account::{ApiLimitReached, JobFailed, QuotaWarning, SubscriptionUpdated, UserCreated},
    catalog::{ChannelIngested, FingerprintCreated},
    matches::{Match, MatchFound},
    video::{Fingerprint, VideoFailed, VideoProcessed, VideoProcessing, VideoUploaded},
};

/// What serde says of a field that is not there, for the fields with several names.
struct Missing(&'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing field `{}`", self.0)
    }
}
