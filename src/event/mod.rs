//! What happened: an event, read from the body of a delivery.
//!
//! Pure data. `envelope` makes one of SoundHash's two envelopes, `payload` one set of types
//! of all spellings, and neither knows of HTTP or signatures.

mod data;
mod envelope;
mod error;
#[expect(clippy::module_inception, reason = "the type that the module is about")]
mod event;
mod id;
mod kind;
mod payload;
mod timestamp;
#[cfg(feature = "jiff")]
mod timestamp_jiff;

pub(crate) use self::envelope::Envelope;
pub use self::{
    data::{EventData, Unrecognized},
    error::{EventError, EventErrorKind},
    event::{Event, Resource},
    id::Id,
    kind::{EventKind, UnknownEventKind},
    payload::{
        ApiLimitReached, ChannelIngested, Fingerprint, FingerprintCreated, JobFailed, Match,
        MatchFound, QuotaWarning, SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed,
        VideoProcessing, VideoUploaded,
    },
    timestamp::{Timestamp, TimestampError},
};
