use std::{error, fmt};

use serde_json::error::Category;

/// Why a body is not an [`Event`](crate::Event).
///
/// It tells the kind and, where the body is not even JSON, the place; of the body itself it
/// only shows what did not fit a type that the caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    kind: EventErrorKind,
    /// What the JSON parser said, its place included.
    detail: String,
    place: Option<(usize, usize)>,
}

/// The kinds of [`EventError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// Not JSON. SoundHash's senders are written in Python and write `NaN`, `Infinity` and
    /// half a surrogate pair, none of which is JSON.
    Syntax,
    /// JSON, but not an object.
    NotAnObject,
    /// An object without a `type` or an `event` that is a string.
    MissingType,
    /// An object without `data`.
    MissingPayload,
    /// JSON that does not fit the type that [`Delivery::json`](crate::Delivery::json) was
    /// asked for.
    Data,
}

impl EventError {
    pub(super) fn new(kind: EventErrorKind) -> Self {
        Self {
            kind,
            detail: String::new(),
            place: None,
        }
    }

    pub(crate) fn from_json(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Data => EventErrorKind::Data,
            Category::Syntax | Category::Eof | Category::Io => EventErrorKind::Syntax,
        };
        Self {
            kind,
            detail: error.to_string(),
            place: (error.line() > 0).then(|| (error.line(), error.column())),
        }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> EventErrorKind {
        self.kind
    }

    /// The line of the body that the JSON breaks in, from 1, where there is one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.map(|(line, _)| line)
    }

    /// The column in that line, in bytes, from 1.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.place.map(|(_, column)| column)
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EventErrorKind::Syntax => write!(f, "body is not JSON: {}", self.detail),
            EventErrorKind::NotAnObject => f.write_str("body is not a JSON object"),
            EventErrorKind::MissingType => f.write_str("event has no type"),
            EventErrorKind::MissingPayload => f.write_str("event has no payload"),
            EventErrorKind::Data => write!(f, "body does not fit: {}", self.detail),
        }
    }
}

impl error::Error for EventError {}
