//! Parses only the envelope of an event, for the layers, which do not need the payload.

use std::str;

pub(crate) use super::envelope::Envelope;
use super::{
    error::EventError,
    kind::{EventKind, EventType},
    python::to_strict,
};

impl Envelope {
    /// Parses the envelope in `body`, and skips the payload.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is neither JSON nor Python's superset of JSON, if it is not an
    /// object, or if its type or payload is missing.
    pub(crate) fn read(body: &[u8]) -> Result<Self, EventError> {
        Self::scan(body, None)
    }

    pub(crate) fn id_is_unique(&self) -> bool {
        self.id_is_unique
    }

    pub(crate) fn event_type(&self) -> &str {
        self.event_type.as_str()
    }

    pub(crate) fn kind(&self) -> Option<EventKind> {
        match self.event_type {
            EventType::Known(kind) => Some(kind),
            EventType::Unknown(_) => None,
        }
    }
}

/// Returns the body as strict JSON, or `None` if the body does not use Python's extensions of JSON.
pub(crate) fn strict_text(body: &[u8]) -> Option<String> {
    to_strict(str::from_utf8(body).ok()?)
}
