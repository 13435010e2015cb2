//! The payload of an event, as a Rust type if the event type is known.

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::error::{message, position};
use super::kind::{EventKind, EventType, event_types};
use super::payload::{
    ApiLimitReached, ChannelIngested, FingerprintCreated, JobFailed, MatchFound, QuotaWarning,
    SubscriptionUpdated, UserCreated, VideoFailed, VideoProcessed, VideoProcessing, VideoUploaded,
};
use super::unknown::{Notes, watched};
use super::value::AnyJson;

macro_rules! define_data {
    ($($Kind:ident = $name:literal, $sentence:literal;)*) => {
        /// The payload of an [`Event`](crate::Event), which says what happened.
        ///
        /// An unknown event type or an unexpectedly shaped payload is not an error. The payload is
        /// then [`Unrecognized`](Self::Unrecognized).
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
        ///     other => panic!("unexpected event: {}", other.event_type()),
        /// }
        /// # Ok::<(), soundhash_webhook::EventError>(())
        /// ```
        ///
        /// `EventData` serializes as just the payload, without the type.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum EventData {
            $(
                #[doc = concat!("`", $name, "`: ", $sentence)]
                #[doc = ""]
                #[doc = "```json"]
                #[doc = include_str!(concat!("samples/", $name, ".json"))]
                #[doc = "```"]
                $Kind($Kind),
            )*
            /// The type is unknown to this version of the crate, or the payload does not fit its
            /// type.
            Unrecognized(Unrecognized),
        }

        impl EventData {
            /// Returns the type if this version of the crate knows it.
            ///
            /// For an [`Unrecognized`](Self::Unrecognized) event, this returns the type if it is
            /// known and only the payload does not fit.
            pub fn kind(&self) -> Option<EventKind> {
                match self {
                    $(EventData::$Kind(_) => Some(EventKind::$Kind),)*
                    EventData::Unrecognized(unrecognized) => unrecognized.event_type.parse().ok(),
                }
            }

            fn typed(
                kind: EventKind,
                text: &str,
                notes: &mut Notes,
            ) -> serde_json::Result<(Self, usize)> {
                match kind {
                    $(EventKind::$Kind => {
                        let (payload, length) = watched(text, notes)?;
                        Ok((EventData::$Kind(payload), length))
                    })*
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

event_types!(define_data);

/// The payload of one event type, such as [`VideoProcessed`].
///
/// This trait is implemented by one struct per [`EventKind`] and cannot be implemented by other
/// crates. A handler takes one of these structs as a [`Payload`](crate::Payload).
///
/// ```
/// use soundhash_webhook::{Event, EventKind, EventPayload, UserCreated, VideoProcessed};
///
/// let event = Event::new(UserCreated::default());
/// assert!(UserCreated::of(&event.data).is_some());
/// assert!(VideoProcessed::of(&event.data).is_none());
/// assert_eq!(VideoProcessed::KIND, EventKind::VideoProcessed);
/// ```
///
/// # Creating a payload
///
/// SoundHash adds fields from time to time, so the structs are `#[non_exhaustive]` and cannot be
/// created with a struct literal (E0639). Instead, assign the fields of a default value, or
/// deserialize the payload:
///
/// ```
/// use serde_json::json;
/// use soundhash_webhook::UserCreated;
///
/// let mut user = UserCreated::default();
/// user.user_id = 42.into();
/// user.username = "newuser".into();
///
/// let same: UserCreated =
///     serde_json::from_value(json!({"user_id": 42, "username": "newuser", "email": ""}))?;
/// assert_eq!(user, same);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the payload of a SoundHash event",
    note = "to parse your own type, take a `Delivery` and call `Delivery::json`"
)]
pub trait EventPayload: Clone + Into<EventData> + Send + Sync + 'static + Sealed {
    /// The type of the events that have this payload.
    const KIND: EventKind;

    /// Returns the payload in `data` if it is of this type.
    fn of(data: &EventData) -> Option<&Self>;
}

/// Prevents other crates from implementing [`EventPayload`].
pub trait Sealed {}

/// A payload whose event type is unknown, or that does not fit its event type.
///
/// SoundHash can add types at any time, and its "test this webhook" button sends any type with any
/// payload. Such events are authentic too, so respond with a success status.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unrecognized {
    /// The type as it was sent.
    pub event_type: String,
    /// The payload as it was sent.
    ///
    /// A number that neither a 64-bit integer nor an `f64` can represent exactly is rounded.
    /// [`Delivery::body`](crate::Delivery::body) returns the exact bytes.
    pub payload: Value,
    /// The reason why the payload does not fit its type, or `None` if the type is unknown.
    ///
    /// The text names the field that does not fit, such as `data.duration`, and can quote parts of
    /// the payload.
    pub reason: Option<String>,
}

impl Unrecognized {
    /// Creates an event of a type that this crate does not know.
    pub fn new(event_type: impl Into<String>, payload: Value) -> Self {
        Unrecognized {
            event_type: event_type.into(),
            payload,
            reason: None,
        }
    }
}

impl From<Unrecognized> for EventData {
    fn from(unrecognized: Unrecognized) -> Self {
        EventData::Unrecognized(unrecognized)
    }
}

impl EventData {
    /// Returns the type as SoundHash wrote it, such as `video.uploaded`.
    pub fn event_type(&self) -> &str {
        match self {
            EventData::Unrecognized(unrecognized) => &unrecognized.event_type,
            known => known.kind().map_or("", EventKind::as_str),
        }
    }

    /// Parses the payload at the start of `text`, and returns it along with its length and the
    /// paths of its unknown fields.
    ///
    /// # Errors
    ///
    /// Returns an error if a part of the payload that this crate parses is not strict JSON.
    pub(super) fn read(
        event_type: &EventType,
        text: &str,
    ) -> serde_json::Result<(Self, usize, Vec<String>)> {
        let Some(kind) = event_type.known() else {
            let (AnyJson(payload), length) = first(text)?;
            let unrecognized = Unrecognized::new(event_type.as_str(), payload);
            return Ok((unrecognized.into(), length, Vec::new()));
        };
        let mut notes = Notes::default();
        // A payload must be an object, but serde's derived implementations would also accept an
        // array.
        let error = match text.starts_with('{') {
            true => match EventData::typed(kind, text, &mut notes) {
                Err(error) => Some(error),
                Ok((data, length)) => return Ok((data, length, notes.unknown)),
            },
            false => None,
        };
        let (AnyJson(payload), length) = first(text)?;
        let reason = match error {
            None => "payload is not an object".to_owned(),
            Some(error) if is_at_end(&error, text, length) => notes.locate(message(&error)),
            // The error may be due to a duplicate key, which serde's derived implementations
            // reject. A `Value` keeps only the last value of such a key, so `payload` is converted
            // back to text and parsed again. Deserializing from `payload` itself would fail for
            // numbers under serde_json's `arbitrary_precision`.
            Some(_) => {
                let mut notes = Notes::default();
                match EventData::typed(kind, &payload.to_string(), &mut notes) {
                    Ok((data, _)) => return Ok((data, length, notes.unknown)),
                    Err(error) => notes.locate(message(&error)),
                }
            }
        };
        let unrecognized = Unrecognized {
            event_type: kind.as_str().to_owned(),
            payload,
            reason: Some(reason),
        };
        Ok((unrecognized.into(), length, Vec::new()))
    }
}

/// Parses the value at the start of `text`, and returns it along with its length.
fn first<T: DeserializeOwned>(text: &str) -> serde_json::Result<(T, usize)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    match values.next() {
        Some(value) => Ok((value?, values.byte_offset())),
        // The text contains no value, so parsing it returns the parser's error.
        None => serde_json::from_str(text).map(|value| (value, text.len())),
    }
}

/// Returns whether the parser read the whole payload, which is `length` bytes long, and then failed
/// because a required member was missing. Parsing the payload again would fail in the same way.
///
/// The parser reports a missing member at the end of the object, or without a position.
fn is_at_end(error: &serde_json::Error, text: &str, length: usize) -> bool {
    let is_end = || (error.line(), error.column()) == position(text.as_bytes(), length);
    error.is_data() && (error.line() == 0 || is_end())
}
