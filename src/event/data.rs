//! The payload of an event, typed where its type is known.

use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::envelope::EventType;
use super::error::{message, position};
use super::json::Json;
use super::kind::EventKind;
use super::of_kind::{EventPayload, Sealed};
use super::payload::{
    ApiLimitReached, ChannelIngested, FingerprintCreated, JobFailed, MatchFound, QuotaWarning,
    SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed, VideoProcessing, VideoUploaded,
};

/// What happened: the payload of an [`Event`](crate::Event).
///
/// A payload that fits no known type is no error: it is [`Unrecognized`](Self::Unrecognized).
///
/// ```
/// use soundhash_webhook::{Event, EventData};
///
/// let event = Event::from_slice(br#"{
///     "event": "video.processed",
///     "data": {"video_id": 123, "title": "A song", "fingerprints_count": 36}
/// }"#)?;
/// match event.data {
///     EventData::VideoProcessed(video) => assert_eq!(video.fingerprint_count, Some(36)),
///     other => panic!("not for us: {}", other.event_type()),
/// }
/// # Ok::<(), soundhash_webhook::EventError>(())
/// ```
///
/// Serialized, it is the payload alone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventData {
    /// `video.uploaded`
    VideoUploaded(VideoUploaded),
    /// `video.processing`
    VideoProcessing(VideoProcessing),
    /// `video.processed`
    VideoProcessed(VideoProcessed),
    /// `video.failed`
    VideoFailed(VideoFailed),
    /// `match.found`
    MatchFound(MatchFound),
    /// `fingerprint.created`
    FingerprintCreated(FingerprintCreated),
    /// `channel.ingested`
    ChannelIngested(ChannelIngested),
    /// `quota.warning`
    QuotaWarning(QuotaWarning),
    /// `job.failed`
    JobFailed(JobFailed),
    /// `user.created`
    UserCreated(UserCreated),
    /// `subscription.updated`
    SubscriptionUpdated(SubscriptionUpdated),
    /// `api_limit.reached`
    ApiLimitReached(ApiLimitReached),
    /// A type that this version of the crate does not know, or a payload that does not have the
    /// shape of its type.
    Unrecognized(Unrecognized),
}

/// A payload that fits no type of this crate, as it came.
///
/// SoundHash can add types at any time, and its "test this webhook" button sends any type with
/// any payload. Such an event is authentic, and the sender expects a success.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unrecognized {
    /// The type as it was sent.
    pub event_type: String,
    /// The payload as it was sent.
    pub payload: Value,
    /// Why the payload does not fit its type; `None` if the type itself is unknown. It can quote
    /// from the payload.
    pub reason: Option<String>,
}

impl Unrecognized {
    /// An event of a type of one's own.
    pub fn new(event_type: impl Into<String>, payload: Value) -> Self {
        Unrecognized {
            event_type: event_type.into(),
            payload,
            reason: None,
        }
    }
}

impl EventData {
    /// The type as it stands in an event, such as `video.uploaded`.
    pub fn event_type(&self) -> &str {
        match self {
            EventData::Unrecognized(unrecognized) => &unrecognized.event_type,
            known => known.kind().map_or("", EventKind::as_str),
        }
    }

    /// Reads the payload of an event of this type.
    ///
    /// # Errors
    ///
    /// If what must be read of it is not JSON.
    pub(super) fn read(event_type: EventType, payload: &str) -> serde_json::Result<Self> {
        let kind = match event_type {
            EventType::Known(kind) => kind,
            EventType::Unknown(name) => {
                let Json(payload) = serde_json::from_str(payload)?;
                return Ok(Unrecognized::new(name, payload).into());
            }
        };
        // serde's derived readers take an array for a struct.
        let misfit = match payload.starts_with('{') {
            true => match EventData::typed(kind, payload) {
                Ok(data) => return Ok(data),
                Err(error) => reason_in_any_order(payload, &error),
            },
            false => Some("payload is not an object".to_owned()),
        };
        let Json(value) = serde_json::from_str(payload)?;
        let reason = match misfit {
            Some(reason) => reason,
            // Once more as a plain value would be written: without a key that stands twice, which
            // derived readers refuse. And from text: in a `Value`, a number can be a map under
            // serde_json's `arbitrary_precision`. As this text is also how the event is
            // serialized, reading that again fails for the same reason.
            None => match EventData::typed(kind, &value.to_string()) {
                Ok(data) => return Ok(data),
                Err(error) => message(&error),
            },
        };
        let event_type = kind.as_str().to_owned();
        Ok(Unrecognized {
            event_type,
            payload: value,
            reason: Some(reason),
        }
        .into())
    }
}

/// Why `payload`, an object, is a misfit, if that is so in whatever order its members stand: then
/// there is no need to read it once more. It is so if every member was read and the fault is
/// what is missing, which is said at the object's end, or without a place.
fn reason_in_any_order(payload: &str, error: &serde_json::Error) -> Option<String> {
    let end = position(payload.as_bytes(), payload.len());
    let at_end = error.line() == 0 || (error.line(), error.column()) == end;
    (error.is_data() && at_end).then(|| message(error))
}

/// Everything that says the same of each of the twelve.
macro_rules! each_kind {
    ($($Kind:ident),* $(,)?) => {
        impl EventData {
            /// The type, if this version of the crate knows it. That of an
            /// [`Unrecognized`](Self::Unrecognized) is known if only its payload did not fit.
            pub fn kind(&self) -> Option<EventKind> {
                match self {
                    $(EventData::$Kind(_) => Some(EventKind::$Kind),)*
                    EventData::Unrecognized(unrecognized) => unrecognized.event_type.parse().ok(),
                }
            }

            fn typed(kind: EventKind, payload: &str) -> serde_json::Result<Self> {
                match kind {
                    $(EventKind::$Kind => serde_json::from_str(payload).map(EventData::$Kind),)*
                }
            }
        }

        impl Serialize for EventData {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(EventData::$Kind(payload) => payload.serialize(serializer),)*
                    EventData::Unrecognized(unrecognized) => {
                        unrecognized.payload.serialize(serializer)
                    }
                }
            }
        }

        $(
            impl From<$Kind> for EventData {
                fn from(payload: $Kind) -> Self {
                    EventData::$Kind(payload)
                }
            }

            impl Sealed for $Kind {}

            impl EventPayload for $Kind {
                const KIND: EventKind = EventKind::$Kind;

                fn of(data: &EventData) -> Option<&Self> {
                    match data {
                        EventData::$Kind(payload) => Some(payload),
                        _ => None,
                    }
                }
            }
        )*
    };
}

each_kind!(
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
);

impl From<Unrecognized> for EventData {
    fn from(unrecognized: Unrecognized) -> Self {
        EventData::Unrecognized(unrecognized)
    }
}
