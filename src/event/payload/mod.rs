//! One struct per event type.
//!
//! A field bears the name that it is written with. Where SoundHash's two senders spell a field
//! differently, the dispatcher's spelling is that name, and every other one is read as well.
//! What only some of the spellings promise is an `Option`; `null` and absent are the same there,
//! and SoundHash's dispatcher also leaves out what is zero or empty.

mod account;
mod matches;
mod video;
mod work;

pub use account::{ApiLimitReached, QuotaWarning, SubscriptionUpdated, UserCreated};
pub use matches::{Match, MatchFound};
pub use video::{Fingerprint, VideoFailed, VideoProcessed, VideoProcessing, VideoUploaded};
pub use work::{ChannelIngested, FingerprintCreated, JobFailed};

/// No spelling of a required field is there. In the words of serde's derived readers, so that a
/// user sees one wording.
#[derive(Debug)]
struct Missing(&'static str);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "missing field `{}`", self.0)
    }
}
