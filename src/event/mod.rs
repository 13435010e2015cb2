//! What SoundHash says: one set of types for everything its two senders write.
//!
//! Pure data: bytes in, [`Event`] out. A *tolerant reader*: whatever the envelope and whichever
//! spelling of a payload arrives, the same Rust type comes out; unknown fields are passed over,
//! and a payload that fits no type is kept as it came ([`Unrecognized`]) instead of being refused.

mod data;
mod envelope;
mod error;
mod id;
mod json;
mod kind;
mod model;
mod of_kind;
mod payload;
mod timestamp;
#[cfg(feature = "chrono")]
mod timestamp_chrono;
#[cfg(feature = "jiff")]
mod timestamp_jiff;
#[cfg(feature = "time")]
mod timestamp_time;

pub use data::{EventData, Unrecognized};
pub(crate) use envelope::Envelope;
pub use error::{EventError, EventErrorKind};
pub use id::Id;
pub use kind::{EventKind, UnknownEventKind};
pub use model::{Event, Resource};
pub use of_kind::EventPayload;
pub use payload::{
    ApiLimitReached, ChannelIngested, Fingerprint, FingerprintCreated, JobFailed, Match,
    MatchFound, QuotaWarning, SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed,
    VideoProcessing, VideoUploaded,
};
pub use timestamp::{Timestamp, TimestampError};
