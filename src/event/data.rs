use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{
    EventKind,
    payload::{
        ApiLimitReached, ChannelIngested, FingerprintCreated, JobFailed, MatchFound, QuotaWarning,
        SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed, VideoProcessing,
        VideoUploaded,
    },
};

macro_rules! event_data {
    ($($variant:ident,)+) => {
        /// What happened, by type.
        ///
        /// SoundHash adds types at any time, so a `match` needs an arm for the others. One
        /// that answers 2xx is right: to SoundHash, an event that nobody cares for is
        /// delivered.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum EventData {
            $(
                #[doc = concat!("See [`", stringify!($variant), "`].")]
                $variant($variant),
            )+
            /// A type or a shape that this version does not know.
            Unrecognized(Unrecognized),
        }

        impl EventData {
            /// The type as SoundHash writes it.
            #[must_use]
            pub fn event_type(&self) -> &str {
                match self {
                    $(Self::$variant(_) => EventKind::$variant.as_str(),)+
                    Self::Unrecognized(data) => &data.event_type,
                }
            }

            /// The type, if this version knows it. A payload of a known type that does not
            /// fit keeps its kind.
            #[must_use]
            pub fn kind(&self) -> Option<EventKind> {
                match self {
                    $(Self::$variant(_) => Some(EventKind::$variant),)+
                    Self::Unrecognized(data) => data.event_type.parse().ok(),
                }
            }

            /// Reads a payload of that kind straight from the JSON.
            pub(super) fn read(kind: EventKind, payload: &[u8]) -> serde_json::Result<Self> {
                match kind {
                    $(EventKind::$variant => serde_json::from_slice(payload).map(Self::$variant),)+
                }
            }

            fn from_value(kind: EventKind, payload: &Value) -> serde_json::Result<Self> {
                match kind {
                    $(EventKind::$variant => $variant::deserialize(payload).map(Self::$variant),)+
                }
            }
        }

        /// Writes the payload, without the type.
        impl Serialize for EventData {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(data) => data.serialize(serializer),)+
                    Self::Unrecognized(data) => data.payload.serialize(serializer),
                }
            }
        }

        $(
            impl From<$variant> for EventData {
                fn from(data: $variant) -> Self {
                    Self::$variant(data)
                }
            }
        )+
    };
}

event_data! {
    VideoUploaded,
    VideoProcessing,
    VideoProcessed,
    VideoFailed,
    MatchFound,
    FingerprintCreated,
    ChannelIngested,
    QuotaWarning,
    JobFailed,
    UserCreated,
    SubscriptionUpdated,
    ApiLimitReached,
}

impl EventData {
    /// A payload that [`read`](Self::read) refused. As a [`Value`], where the last of two
    /// equal keys counts, it may fit after all; and what then does not fit is described
    /// without a place in the text, so that the reason stays the same when the event is
    /// written and read again.
    pub(super) fn reread(kind: EventKind, payload: Value) -> Self {
        Self::from_value(kind, &payload).unwrap_or_else(|error| {
            Self::Unrecognized(Unrecognized {
                event_type: kind.to_string(),
                payload,
                reason: Some(error.to_string()),
            })
        })
    }
}

/// An authentic event of a type, or with a payload, that this version does not know.
///
/// The "test this webhook" button sends such events: see
/// [`Event::is_test`](crate::Event::is_test).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unrecognized {
    /// The type as SoundHash wrote it.
    pub event_type: String,
    /// The payload, whatever it is.
    pub payload: Value,
    /// Why the payload does not fit, where the type is known.
    pub reason: Option<String>,
}

impl Unrecognized {
    /// An event of another type, for tests.
    #[must_use]
    pub fn new(event_type: impl Into<String>, payload: Value) -> Self {
        Self {
            event_type: event_type.into(),
            payload,
            reason: None,
        }
    }
}

impl From<Unrecognized> for EventData {
    fn from(data: Unrecognized) -> Self {
        Self::Unrecognized(data)
    }
}
