//! Two envelopes in, one out.
//!
//! SoundHash's portal writes `event`, `delivery_id` and `timestamp` where its dispatcher writes
//! `type`, `id` and `created_at`. Which of the two sent a body does not matter beyond this file.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::data::EventData;
use super::error::{EventError, EventErrorKind};
use super::id::Id;
use super::kind::EventKind;
use super::model::{Event, Resource};
use super::timestamp::Timestamp;

/// An event whose payload is still raw JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) id: Option<Id>,
    /// The id is the dispatcher's `id`, not the portal's `delivery_id`.
    id_is_unique: bool,
    pub(crate) created_at: Option<Timestamp>,
    webhook_id: Option<Id>,
    resource: Option<Resource>,
    event_type: EventType,
    /// Where in the body the payload is.
    payload: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum EventType {
    Known(EventKind),
    Unknown(String),
}

impl Envelope {
    /// Reads all of `body` but the inside of the payload.
    ///
    /// # Errors
    ///
    /// If the body is not JSON, or no object, or has no type that is a string, or no payload.
    pub(crate) fn read(body: &[u8]) -> Result<Envelope, EventError> {
        // The JSON parser does not look at the bytes of strings that it skips.
        let text = std::str::from_utf8(body)
            .map_err(|error| EventError::not_utf8(body, error.valid_up_to()))?;
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| {
            // A data error comes at the first byte of, say, an array: whether the rest of it is
            // JSON has yet to be seen.
            if !error.is_data() {
                return EventError::from_json(&error);
            }
            match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => EventError::of(EventErrorKind::NotAnObject),
                Err(error) => EventError::from_json(&error),
            }
        })?;

        let event_type = [fields.r#type, fields.event]
            .into_iter()
            .flatten()
            .find_map(|raw| {
                let name = string(raw)?;
                Some(name.map_err(|error| EventError::within(body, range(body, raw).start, &error)))
            });
        let event_type = match event_type {
            Some(name) => EventType::from(name?),
            None => return Err(EventError::of(EventErrorKind::MissingType)),
        };
        let Some(payload) = fields.data else {
            return Err(EventError::of(EventErrorKind::MissingPayload));
        };
        let resource = Resource {
            id: fields.resource_id.and_then(id),
            resource_type: fields.resource_type.and_then(readable).map(Cow::into_owned),
        };
        let dispatcher_id = fields.id.and_then(id);
        Ok(Envelope {
            id_is_unique: dispatcher_id.is_some(),
            id: dispatcher_id.or_else(|| fields.delivery_id.and_then(id)),
            created_at: (fields.created_at.and_then(timestamp))
                .or_else(|| fields.timestamp.and_then(timestamp)),
            webhook_id: fields.webhook_id.and_then(id),
            resource: (resource != Resource::default()).then_some(resource),
            event_type,
            payload: range(body, payload),
        })
    }

    /// Returns whether no other event has this [`id`](Self::id).
    ///
    /// This is true of the dispatcher's `id`. The portal's `delivery_id` is a clock reading in
    /// milliseconds, which two events can share.
    #[allow(dead_code, reason = "for the idempotency key")]
    pub(crate) fn id_is_unique(&self) -> bool {
        self.id_is_unique
    }

    /// The type as it was sent.
    pub(crate) fn event_type(&self) -> &str {
        match &self.event_type {
            EventType::Known(kind) => kind.as_str(),
            EventType::Unknown(name) => name,
        }
    }

    /// Reads the payload, too. `body` is what the envelope was read from.
    ///
    /// # Errors
    ///
    /// If the payload is JSON only for someone who does not read it: a string in it ends within
    /// a surrogate pair, a number exceeds what an `f64` can hold, or it nests too deep.
    pub(crate) fn event(&self, body: &[u8]) -> Result<Event, EventError> {
        self.clone().into_event(body)
    }

    /// [`event`](Self::event) for someone who needs the envelope no longer.
    pub(super) fn into_event(self, body: &[u8]) -> Result<Event, EventError> {
        // Another body than that of `read` is the caller's mistake, and no reason to panic.
        let start = self.payload.start;
        let payload = body.get(self.payload).unwrap_or_default();
        let text = std::str::from_utf8(payload)
            .map_err(|error| EventError::not_utf8(body, start + error.valid_up_to()))?;
        let data = EventData::read(self.event_type, text)
            .map_err(|error| EventError::within(body, start, &error))?;
        Ok(Event {
            id: self.id,
            created_at: self.created_at,
            webhook_id: self.webhook_id,
            resource: self.resource,
            data,
        })
    }
}

impl From<Cow<'_, str>> for EventType {
    fn from(name: Cow<'_, str>) -> Self {
        match name.parse() {
            Ok(kind) => EventType::Known(kind),
            Err(_) => EventType::Unknown(name.into_owned()),
        }
    }
}

/// Where in `body` the part `raw` of it is.
fn range(body: &[u8], raw: &RawValue) -> Range<usize> {
    let start = raw
        .get()
        .as_ptr()
        .addr()
        .saturating_sub(body.as_ptr().addr());
    start..start + raw.get().len()
}

/// A JSON string; `None` for any other JSON.
fn string(raw: &RawValue) -> Option<serde_json::Result<Cow<'_, str>>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    Some(match inner.contains('\\') {
        false => Ok(Cow::Borrowed(inner)),
        true => serde_json::from_str(raw.get()).map(Cow::Owned),
    })
}

/// A JSON string that may as well be absent.
fn readable(raw: &RawValue) -> Option<Cow<'_, str>> {
    string(raw)?.ok()
}

fn timestamp(raw: &RawValue) -> Option<Timestamp> {
    readable(raw)?.parse().ok()
}

fn id(raw: &RawValue) -> Option<Id> {
    serde_json::from_str(raw.get()).ok()
}

/// The known members of an envelope, raw. Of a key that stands twice the last value counts, as
/// in Python and in `serde_json::Value`.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a RawValue>,
    delivery_id: Option<&'a RawValue>,
    r#type: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    webhook_id: Option<&'a RawValue>,
    resource_id: Option<&'a RawValue>,
    resource_type: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Id,
    DeliveryId,
    Type,
    Event,
    CreatedAt,
    Timestamp,
    WebhookId,
    ResourceId,
    ResourceType,
    Data,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not derived: that refuses a key that stands twice, and takes an array for a struct.
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key()? {
            let field = match key {
                Key::Id => &mut fields.id,
                Key::DeliveryId => &mut fields.delivery_id,
                Key::Type => &mut fields.r#type,
                Key::Event => &mut fields.event,
                Key::CreatedAt => &mut fields.created_at,
                Key::Timestamp => &mut fields.timestamp,
                Key::WebhookId => &mut fields.webhook_id,
                Key::ResourceId => &mut fields.resource_id,
                Key::ResourceType => &mut fields.resource_type,
                Key::Data => &mut fields.data,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Not `next_value::<Option<_>>`: `null` is a payload, too.
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id": 7, "type": "made.up", "data": [1, 2]}"#;

    #[test]
    fn the_payload_stays_raw_until_it_is_asked_for() {
        let envelope = Envelope::read(BODY).unwrap();
        assert_eq!(&BODY[envelope.payload.clone()], b"[1, 2]");
        assert_eq!(envelope.id, Some(Id::from(7_u64)));
        assert_eq!(envelope.created_at, None);

        // JSON to skip, but not to read.
        let body = br#"{"type": "made.up", "data": "\ud83c"}"#;
        let envelope = Envelope::read(body).unwrap();
        assert_eq!(
            envelope.event(body).unwrap_err().kind(),
            EventErrorKind::Syntax
        );
    }

    #[test]
    fn a_foreign_body_does_not_panic() {
        let envelope = Envelope::read(BODY).unwrap();
        assert_eq!(
            envelope.event(b"{}").unwrap_err().to_string(),
            "body is not JSON: EOF while parsing a value at line 1 column 2"
        );
        let error = envelope.event(&[0xff; 64]).unwrap_err();
        assert_eq!(
            (error.kind(), error.column()),
            (EventErrorKind::Syntax, Some(38))
        );
    }
}
