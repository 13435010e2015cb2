//! The event that a handler receives.

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::data::EventData;
use super::envelope::Envelope;
use super::error::EventError;
use super::id::Id;
use super::kind::EventKind;
use super::python::to_strict;
use super::resource::Resource;
use super::sender::Sender;
use super::timestamp::Timestamp;
use super::value::AnyJson;

/// An event from one of SoundHash's two senders.
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
/// // An event can be stored and parsed again.
/// let stored = serde_json::to_vec(&event).unwrap();
/// assert_eq!(Event::from_slice(&stored)?, event);
/// # Ok::<(), soundhash_webhook::EventError>(())
/// ```
///
/// An event serializes as a single JSON object in the dispatcher's envelope. Serializing and
/// reparsing an event that was parsed from a body yields an equal event. The same holds for an
/// event that your code creates, provided that its numbers are finite, its required fields are set,
/// and its [`Resource`] is not empty.
///
/// Two events are equal if their public fields are equal. `==` ignores [`sender`](Self::sender),
/// [`is_repaired`](Self::is_repaired) and [`unknown_fields`](Self::unknown_fields).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The id of the event, which is the same in every retry.
    ///
    /// The [dispatcher](Sender::Dispatcher)'s ids are unique. The [portal](Sender::Portal)'s ids
    /// are millisecond timestamps, which two events can share.
    pub id: Option<Id>,
    /// The time at which SoundHash created the event, which is the same in every retry.
    pub created_at: Option<Timestamp>,
    /// The id of the endpoint that the event was sent to. Only SoundHash's portal sends it.
    pub webhook_id: Option<Id>,
    /// The resource that the event is about. Only SoundHash's dispatcher sends it.
    pub resource: Option<Resource>,
    /// The payload, which says what happened.
    pub data: EventData,
    sender: Option<Sender>,
    repaired: bool,
    unknown: Vec<String>,
}

impl Event {
    /// Creates an event that has only a payload, for example for a test or a queue.
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
            sender: None,
            repaired: false,
            unknown: Vec::new(),
        }
    }

    /// Parses an event from a request body, in either of SoundHash's envelopes.
    ///
    /// This does not verify the signature. If the bytes come from the network, call
    /// [`Secret::verify`](crate::Secret::verify) first.
    ///
    /// A body that is not strict JSON is repaired, as [`is_repaired`](Self::is_repaired) describes.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not a JSON object, if its payload is missing, or if its
    /// event type is missing or not a string. An unknown type or an unexpectedly shaped payload is
    /// not an error, but results in [`EventData::Unrecognized`].
    pub fn from_slice(body: &[u8]) -> Result<Self, EventError> {
        let mut parsed = None;
        let envelope = Envelope::read(body, Some(&mut parsed))?;
        match parsed {
            Some((_, data, unknown)) => Ok(Event::join(envelope, data, unknown)),
            None => Event::of(envelope, body),
        }
    }

    /// Parses the payload of `envelope`, which must have been parsed from `body`.
    ///
    /// # Errors
    ///
    /// Returns an error if the payload is nested too deeply.
    pub(crate) fn of(mut envelope: Envelope, body: &[u8]) -> Result<Self, EventError> {
        // An envelope from another body is a bug in the caller, but must not cause a panic.
        let start = envelope.payload.start;
        let payload = body.get(envelope.payload.clone()).unwrap_or_default();
        let text = std::str::from_utf8(payload)
            .map_err(|error| EventError::not_utf8(body, start + error.valid_up_to()))?;
        let (data, _, unknown) = match EventData::read(&envelope.event_type, text) {
            Ok(data) => data,
            Err(error) => match to_strict(text) {
                None => return Err(EventError::within(body, start, &error)),
                Some(strict) => {
                    envelope.repaired = true;
                    EventData::read(&envelope.event_type, &strict).map_err(|error| {
                        EventError::from_json(&error)
                            .before_repair(payload, strict.as_bytes())
                            .moved_by(body, start)
                    })?
                }
            },
        };
        Ok(Event::join(envelope, data, unknown))
    }

    fn join(mut envelope: Envelope, data: EventData, unknown: Vec<String>) -> Self {
        envelope.unknown.extend(unknown);
        Event {
            id: envelope.id,
            created_at: envelope.created_at,
            webhook_id: envelope.webhook_id,
            resource: envelope.resource,
            data,
            sender: Some(envelope.sender),
            repaired: envelope.repaired,
            unknown: envelope.unknown,
        }
    }

    /// Returns the type if this version of the crate knows it.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        self.data.kind()
    }

    /// Returns the type as it was sent, such as `video.uploaded`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.data.event_type()
    }

    /// Returns whether the event comes from the "test this webhook" button in SoundHash's
    /// dashboard.
    ///
    /// Users of the button can enter any type and payload, so the data of a test event is often
    /// [`Unrecognized`](EventData::Unrecognized). The sender still expects a success response.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.resource.as_ref().is_some_and(Resource::is_test)
    }

    /// Returns the sender that wrote the envelope, or `None` for an event that was not parsed.
    ///
    /// The sender is inferred from the envelope: the dispatcher calls the event type `type`, and
    /// the portal calls it `event`. Because events serialize in the dispatcher's envelope, an event
    /// that was stored with serde and parsed again always has [`Sender::Dispatcher`].
    ///
    /// ```
    /// use soundhash_webhook::{Event, Sender};
    ///
    /// let event = Event::from_slice(br#"{"event": "video.processed", "data": {"title": "A song"}}"#)?;
    /// assert_eq!(event.sender(), Some(Sender::Portal));
    /// # Ok::<(), soundhash_webhook::EventError>(())
    /// ```
    #[must_use]
    pub fn sender(&self) -> Option<Sender> {
        self.sender
    }

    /// Returns whether the body had to be repaired before it could be parsed.
    ///
    /// SoundHash's senders are written in Python, whose `json` module can write text that is not
    /// strict JSON. Rejecting such a body would lose an authentic event, so it is parsed with these
    /// replacements:
    ///
    /// | in the body | parsed as |
    /// | --- | --- |
    /// | `NaN`, `Infinity`, `-Infinity` | `null` |
    /// | a number beyond the range of `f64`, such as an integer of 400 digits | `null` |
    /// | half of a surrogate pair in a string, such as `"\ud83c"` | U+FFFD |
    ///
    /// Anything else that is not JSON, such as a comment or a trailing comma, is still an error.
    /// Values that this crate does not parse, such as unknown fields, are not repaired.
    /// [`Delivery::body`](crate::Delivery::body) returns the bytes exactly as they were signed.
    ///
    /// ```
    /// use soundhash_webhook::{Event, EventData};
    ///
    /// let event = Event::from_slice(
    ///     br#"{"type": "video.processed", "data": {"video_id": 7, "duration": NaN}}"#,
    /// )?;
    /// assert!(event.is_repaired());
    /// match event.data {
    ///     EventData::VideoProcessed(video) => assert_eq!(video.duration, None),
    ///     other => panic!("unexpected event: {}", other.event_type()),
    /// }
    /// # Ok::<(), soundhash_webhook::EventError>(())
    /// ```
    #[must_use]
    pub fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns the paths of fields that are unknown to this version of the crate, such as
    /// `data.matches[].label`.
    ///
    /// SoundHash can add fields at any time, so an unknown field is not an error. Its value is
    /// available only in [`Delivery::body`](crate::Delivery::body).
    ///
    /// - The payload is searched for unknown fields only if its type is known and it fits that
    ///   type.
    /// - `uploaded_at` and `reset_at` are not reported, because SoundHash's portal adds them to the
    ///   payload of every type.
    /// - At most 32 paths are reported, with names truncated to 64 characters. The sender chooses
    ///   the names, so escape them before logging them.
    ///
    /// ```
    /// use soundhash_webhook::Event;
    ///
    /// let event = Event::from_slice(
    ///     br#"{"type": "video.processed", "region": "eu", "data": {"video_id": 7, "codec": "opus"}}"#,
    /// )?;
    /// assert_eq!(event.unknown_fields(), ["region", "data.codec"]);
    /// # Ok::<(), soundhash_webhook::EventError>(())
    /// ```
    #[must_use]
    pub fn unknown_fields(&self) -> &[String] {
        &self.unknown
    }
}

/// Compares only the public fields.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let Event {
            id,
            created_at,
            webhook_id,
            resource,
            data,
            sender: _,
            repaired: _,
            unknown: _,
        } = self;
        *id == other.id
            && *created_at == other.created_at
            && *webhook_id == other.webhook_id
            && *resource == other.resource
            && *data == other.data
    }
}

/// Serializes as the dispatcher's envelope, without the members that are `None`.
///
/// To forward an event to another receiver, send [`Delivery::body`](crate::Delivery::body) rather
/// than the serialized event. Serializing turns the portal's `delivery_id` into an `id`, which an
/// [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) assumes to be unique, although two
/// events can share a `delivery_id`.
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

/// Deserializes either envelope from any self-describing format.
///
/// For JSON in memory, prefer [`from_slice`](Event::from_slice), which is faster, reports error
/// positions, and repairs Python's extensions of JSON.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serializes the value and parses the resulting text, so that only one parser is needed.
        let AnyJson(value) = AnyJson::deserialize(deserializer)?;
        Event::from_slice(value.to_string().as_bytes()).map_err(|error| {
            // The position refers to text that the caller does not have.
            de::Error::custom(error.without_position())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventErrorKind;

    #[test]
    fn another_body_than_the_envelopes_does_not_panic() {
        let body = br#"{"id": 7, "type": "made.up", "data": [1, 2]}"#;
        let envelope = Envelope::read(body, None).unwrap();
        let error = Event::of(envelope.clone(), b"{}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "body is not JSON: EOF while parsing a value at line 1 column 2"
        );
        let error = Event::of(envelope, &[0xff; 64]).unwrap_err();
        assert_eq!(
            (error.kind(), error.column()),
            (EventErrorKind::Syntax, Some(38))
        );
    }
}
