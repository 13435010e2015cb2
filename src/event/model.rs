//! The event that a handler gets.

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::Envelope;
use super::data::EventData;
use super::error::EventError;
use super::id::Id;
use super::json::Json;
use super::kind::EventKind;
use super::timestamp::Timestamp;

/// One event, whichever of SoundHash's senders it came from.
///
/// ```
/// use soundhash_webhook::{Event, EventKind};
///
/// let event = Event::from_slice(br#"{
///     "id": "g-lRS26_gP40W6FKCarKTg",
///     "type": "user.created",
///     "created_at": "2026-11-23T08:56:12.692996+00:00Z",
///     "data": {"user_id": 42, "username": "newuser", "email": "user@example.com"}
/// }"#)?;
/// assert_eq!(event.kind(), Some(EventKind::UserCreated));
/// assert_eq!(event.id, Some("g-lRS26_gP40W6FKCarKTg".into()));
///
/// // It can be kept and read again.
/// let kept = serde_json::to_vec(&event).unwrap();
/// assert_eq!(Event::from_slice(&kept)?, event);
/// # Ok::<(), soundhash_webhook::EventError>(())
/// ```
///
/// Serialized, it is one JSON object in the words of SoundHash's dispatcher. What was read from
/// a body is read back equal from that. An event of one's own is, too, as long as it could have
/// arrived: numbers are finite, required fields are there, and a [`Resource`] is not empty.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The event's own id, the same in every retry. Unique across SoundHash where the dispatcher
    /// sent it.
    pub id: Option<Id>,
    /// When SoundHash wrote the event: the same in every retry.
    pub created_at: Option<Timestamp>,
    /// The registered endpoint that this is for. Only SoundHash's portal says so.
    pub webhook_id: Option<Id>,
    /// What the event is about. Only SoundHash's dispatcher says so.
    pub resource: Option<Resource>,
    /// What happened.
    pub data: EventData,
}

/// What an event is about, in the words of SoundHash's dispatcher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resource {
    /// The id of the resource. The dispatcher writes it as a string, also where the payload has
    /// the same id as a number.
    pub id: Option<Id>,
    /// The type of the resource, such as `video` or `user`; `test` for a test delivery.
    pub resource_type: Option<String>,
}

impl Event {
    /// An event of one's own, with nothing but a payload: for tests, or to put into a queue.
    ///
    /// ```
    /// use soundhash_webhook::{Event, UserCreated};
    ///
    /// let mut user = UserCreated::default();
    /// user.username = "newuser".into();
    /// assert_eq!(Event::new(user).event_type(), "user.created");
    /// ```
    pub fn new(data: impl Into<EventData>) -> Self {
        let data = data.into();
        Event {
            id: None,
            created_at: None,
            webhook_id: None,
            resource: None,
            data,
        }
    }

    /// Reads an event from a request's body, in either of SoundHash's envelopes.
    ///
    /// This does not verify anything: bytes from the network go through a signature check first.
    ///
    /// # Errors
    ///
    /// If the body is not JSON, or is no object, or has no event type that is a string, or no
    /// payload. A type or a payload of unexpected shape is *not* an error, see
    /// [`EventData::Unrecognized`].
    pub fn from_slice(body: &[u8]) -> Result<Self, EventError> {
        Envelope::read(body)?.into_event(body)
    }

    /// The type, if this version of the crate knows it.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        self.data.kind()
    }

    /// The type as it was sent, such as `video.uploaded`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.data.event_type()
    }

    /// Whether the "test this webhook" button of SoundHash's dashboard sent this. Such an event
    /// has any type and any payload its user typed, so the latter is often
    /// [`Unrecognized`](EventData::Unrecognized); a success is expected nevertheless.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let resource_type = self
            .resource
            .as_ref()
            .and_then(|it| it.resource_type.as_deref());
        resource_type == Some("test")
    }
}

/// Writes the envelope of SoundHash's dispatcher, and leaves out what is not there.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a Id>,
            r#type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_at: Option<Timestamp>,
            data: &'a EventData,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource_id: Option<&'a Id>,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource_type: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            webhook_id: Option<&'a Id>,
        }

        let resource = self.resource.as_ref();
        let wire = Wire {
            id: self.id.as_ref(),
            r#type: self.event_type(),
            created_at: self.created_at,
            data: &self.data,
            resource_id: resource.and_then(|it| it.id.as_ref()),
            resource_type: resource.and_then(|it| it.resource_type.as_deref()),
            webhook_id: self.webhook_id.as_ref(),
        };
        wire.serialize(serializer)
    }
}

/// Reads either envelope from any format that says what it holds. For JSON in memory,
/// [`from_slice`](Event::from_slice) is faster and says where an error is.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of text: one reader, hence one meaning.
        let Json(value) = Json::deserialize(deserializer)?;
        Event::from_slice(value.to_string().as_bytes()).map_err(|error| {
            // The position is that in a text which nobody has seen.
            de::Error::custom(error.without_position())
        })
    }
}
