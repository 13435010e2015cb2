use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};
use serde_json::Value;

use super::{Envelope, EventData, EventError, EventKind, Id, Timestamp};

/// Something that happened at SoundHash.
///
/// It is an extractor: take it in a handler behind a
/// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer). Take a
/// `Result<Event, EventRejection>` to deal with a body that is no event yourself.
///
/// Both of SoundHash's envelopes, the portal's and the dispatcher's, make the same `Event`.
/// [`Serialize`] writes the dispatcher's, and [`from_slice`](Self::from_slice) reads that back
/// equal.
///
/// ```
/// use soundhash_webhook::{Event, EventKind};
///
/// let event = Event::from_slice(br#"{
///     "event": "video.processed",
///     "delivery_id": "del_1",
///     "timestamp": "2026-11-23T08:55:32Z",
///     "data": {"id": 123, "title": "Test Video", "duration": 180}
/// }"#)?;
/// assert_eq!(event.kind(), Some(EventKind::VideoProcessed));
/// assert_eq!(
///     serde_json::to_string(&event).unwrap(),
///     r#"{"id":"del_1","type":"video.processed","created_at":"2026-11-23T08:55:32Z","data":{"video_id":123,"title":"Test Video","duration":180.0}}"#,
/// );
/// # Ok::<(), soundhash_webhook::EventError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its id, the same in every retry and at every endpoint.
    pub id: Option<Id>,
    /// When it happened. `None`, too, for a time that cannot be read.
    pub created_at: Option<Timestamp>,
    /// The endpoint that it was sent to; only the portal says it.
    pub webhook_id: Option<Id>,
    /// What it is about; only the dispatcher says it.
    pub resource: Option<Resource>,
    /// What happened.
    pub data: EventData,
}

/// What an [`Event`] is about, as SoundHash's dispatcher names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The resource's id.
    pub id: Option<Id>,
    /// The resource's type: `video`, `match`, `job`, `user`, `subscription`, or `test`.
    pub resource_type: Option<String>,
}

impl Event {
    /// An event with this payload and nothing else, for tests.
    #[must_use]
    pub fn new(data: impl Into<EventData>) -> Self {
        Self {
            id: None,
            created_at: None,
            webhook_id: None,
            resource: None,
            data: data.into(),
        }
    }

    /// Reads the body of a delivery.
    ///
    /// It verifies nothing. Behind the layer, take an `Event` as an argument of the handler;
    /// elsewhere, call [`Secret::verify`](crate::Secret::verify) first.
    ///
    /// # Errors
    ///
    /// If the body is not JSON, not an object, or has no type or no payload. A type or a
    /// payload that this version does not know is not an error, but
    /// [`EventData::Unrecognized`].
    pub fn from_slice(body: &[u8]) -> Result<Self, EventError> {
        Envelope::read(body)?.event(body)
    }

    /// The type, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        self.data.kind()
    }

    /// The type as SoundHash writes it.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.data.event_type()
    }

    /// Whether somebody pressed the "test this webhook" button.
    ///
    /// Such an event is authentic, but did not happen; its payload rarely has the shape of its
    /// type, and is then [`EventData::Unrecognized`].
    #[must_use]
    pub fn is_test(&self) -> bool {
        let resource = self.resource.as_ref();
        resource.and_then(|resource| resource.resource_type.as_deref()) == Some("test")
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn field<S: SerializeStruct, T: Serialize>(
            event: &mut S,
            name: &'static str,
            value: Option<&T>,
        ) -> Result<(), S::Error> {
            match value {
                Some(value) => event.serialize_field(name, value),
                None => event.skip_field(name),
            }
        }
        let Self {
            id,
            created_at,
            webhook_id,
            resource,
            data,
        } = self;
        let (resource_id, resource_type) = match resource {
            Some(resource) => (resource.id.as_ref(), resource.resource_type.as_ref()),
            None => (None, None),
        };
        let optional = [
            id.is_some(),
            created_at.is_some(),
            resource_id.is_some(),
            resource_type.is_some(),
            webhook_id.is_some(),
        ];
        let len = 2 + optional.into_iter().filter(|&is_some| is_some).count();
        let mut event = serializer.serialize_struct("Event", len)?;
        field(&mut event, "id", id.as_ref())?;
        event.serialize_field("type", data.event_type())?;
        field(&mut event, "created_at", created_at.as_ref())?;
        event.serialize_field("data", data)?;
        field(&mut event, "resource_id", resource_id)?;
        field(&mut event, "resource_type", resource_type)?;
        field(&mut event, "webhook_id", webhook_id.as_ref())?;
        event.end()
    }
}

/// Reads what [`Serialize`] wrote, in any format that describes itself: for an event that was
/// kept in a queue. The body of a delivery is for [`Event::from_slice`].
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Value::deserialize(deserializer)?;
        Self::from_slice(event.to_string().as_bytes()).map_err(de::Error::custom)
    }
}
