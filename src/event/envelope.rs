use std::{fmt, ops::Range};

use serde::{
    Deserialize,
    de::{self, IgnoredAny},
};
use serde_json::{Value, value::RawValue};

use super::{
    Event, EventData, EventError, EventErrorKind, EventKind, Id, Resource, Timestamp, Unrecognized,
};

/// What stands around the payload, in either envelope. The payload itself is left alone until
/// somebody asks for the event.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) id: Option<Id>,
    pub(crate) created_at: Option<Timestamp>,
    webhook_id: Option<Id>,
    resource: Option<Resource>,
    event_type: EventType,
    /// Where the payload stands in the body.
    payload: Range<usize>,
}

#[derive(Debug)]
enum EventType {
    Known(EventKind),
    Unknown(String),
}

impl Envelope {
    /// Reads the envelope, in one pass over the body.
    ///
    /// Only the type and the payload are required. Of everything else, what does not have the
    /// expected type is taken for absent: it must not cost the delivery.
    pub(crate) fn read(body: &[u8]) -> Result<Self, EventError> {
        let fields: Fields<'_> = serde_json::from_slice(body).map_err(|error| {
            // A visitor's complaint comes before the rest of the body was looked at.
            match serde_json::from_slice::<IgnoredAny>(body) {
                Ok(_) if error.is_data() => EventError::new(EventErrorKind::NotAnObject),
                Ok(_) => EventError::from_json(&error),
                Err(error) => EventError::from_json(&error),
            }
        })?;

        let event_type = match either(fields.r#type, fields.event, read::<EventType>) {
            Some(event_type) => event_type,
            // Half a surrogate pair: a string, but not in Rust.
            None if [fields.r#type, fields.event]
                .into_iter()
                .flatten()
                .any(is_string) =>
            {
                return Err(syntax_error(body));
            }
            None => return Err(EventError::new(EventErrorKind::MissingType)),
        };
        let payload = fields
            .data
            .ok_or(EventError::new(EventErrorKind::MissingPayload))?
            .get();
        let start = payload.as_ptr().addr() - body.as_ptr().addr();

        let resource = Resource {
            id: fields.resource_id.and_then(read),
            resource_type: fields.resource_type.and_then(read),
        };
        Ok(Self {
            id: either(fields.id, fields.delivery_id, read),
            created_at: either(fields.created_at, fields.timestamp, read),
            webhook_id: fields.webhook_id.and_then(read),
            resource: (resource != Resource::default()).then_some(resource),
            event_type,
            payload: start..start + payload.len(),
        })
    }

    /// Reads the payload out of the same body.
    pub(crate) fn event(&self, body: &[u8]) -> Result<Event, EventError> {
        let payload = body.get(self.payload.clone()).unwrap_or_default();
        let value = || serde_json::from_slice(payload).map_err(|_| syntax_error(body));
        let data = match &self.event_type {
            EventType::Known(kind) => match EventData::read(*kind, payload) {
                Ok(data) => data,
                Err(_) => EventData::reread(*kind, value()?),
            },
            EventType::Unknown(event_type) => Unrecognized::new(event_type, value()?).into(),
        };
        Ok(Event {
            id: self.id.clone(),
            created_at: self.created_at,
            webhook_id: self.webhook_id.clone(),
            resource: self.resource.clone(),
            data,
        })
    }
}

/// The place of the error in the whole body, which is not JSON.
fn syntax_error(body: &[u8]) -> EventError {
    match serde_json::from_slice::<Value>(body) {
        Err(error) => EventError::from_json(&error),
        Ok(_) => EventError::new(EventErrorKind::Syntax),
    }
}

/// The dispatcher's spelling of a field, or else the portal's.
fn either<'a, T>(
    dispatcher: Option<&'a RawValue>,
    portal: Option<&'a RawValue>,
    read: impl Fn(&'a RawValue) -> Option<T>,
) -> Option<T> {
    dispatcher
        .and_then(&read)
        .or_else(|| portal.and_then(&read))
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = EventType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event type")
            }

            fn visit_str<E>(self, name: &str) -> Result<EventType, E> {
                Ok(match name.parse() {
                    Ok(kind) => EventType::Known(kind),
                    Err(_) => EventType::Unknown(name.to_owned()),
                })
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// The members of the object that are of interest, unread.
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

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
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

// Not derived: of a key that comes twice, the last counts, as in Python and in `Value`.
impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_key()? {
                    let field = match field {
                        Field::Id => &mut fields.id,
                        Field::DeliveryId => &mut fields.delivery_id,
                        Field::Type => &mut fields.r#type,
                        Field::Event => &mut fields.event,
                        Field::CreatedAt => &mut fields.created_at,
                        Field::Timestamp => &mut fields.timestamp,
                        Field::WebhookId => &mut fields.webhook_id,
                        Field::ResourceId => &mut fields.resource_id,
                        Field::ResourceType => &mut fields.resource_type,
                        Field::Data => &mut fields.data,
                        Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = Some(map.next_value()?);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}
