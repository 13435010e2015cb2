//! Event parsing: turns the envelopes and payloads of SoundHash's two senders into one set of
//! types.
//!
//! This module turns bytes into an [`Event`], and imports nothing from the rest of the crate. Its
//! files, in the order in which they process a body:
//!
//! - `envelope`: parses the envelope and, if possible in the same pass, the payload.
//! - `python`: rewrites Python's extensions of JSON as strict JSON.
//! - `data`: parses the payload into the type that the envelope names, or keeps it as
//!   [`Unrecognized`].
//! - `unknown`: finds fields that the payload's type does not have.
//! - `kind`: the list of event types, which is where new types are added.
//! - `payload`: one struct per event type.
//! - `event`, `resource`, `sender`, `id`, `timestamp`, `error`: the other public types.
//! - `value`: parses any JSON into a `serde_json::Value`.

mod data;
pub(crate) mod envelope;
mod error;
#[expect(
    clippy::module_inception,
    reason = "the module is named after its main type"
)]
mod event;
mod id;
pub(crate) mod kind;
mod payload;
pub(crate) mod python;
mod resource;
mod sender;
mod timestamp;
mod unknown;
mod value;

pub use data::{EventData, EventPayload, Unrecognized};
pub use error::{EventError, EventErrorKind};
pub use event::Event;
pub use id::Id;
pub use kind::{EventKind, UnknownEventKind};
pub use payload::{
    ApiLimitReached, ChannelIngested, Fingerprint, FingerprintCreated, JobFailed, Match,
    MatchFound, QuotaWarning, SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed,
    VideoProcessing, VideoUploaded,
};
pub use resource::Resource;
pub use sender::{Sender, UnknownSender};
pub use timestamp::{Timestamp, TimestampError};
