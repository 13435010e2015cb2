//! The error from parsing an event.

use std::fmt::{self, Write};

use super::python::offset_in;

/// An error from parsing a body as an [`Event`](crate::Event).
///
/// This error is rare for authentic deliveries, because an event whose payload has an unexpected
/// shape becomes [`EventData::Unrecognized`](crate::EventData::Unrecognized), and Python's JSON
/// extensions are [repaired](crate::Event::is_repaired).
///
/// ```
/// use soundhash_webhook::{Event, EventErrorKind};
///
/// let error = Event::from_slice(br#"{"type": hello, "data": {}}"#).unwrap_err();
/// assert_eq!(error.kind(), EventErrorKind::Syntax);
/// assert_eq!((error.line(), error.column()), (Some(1), Some(10)));
/// assert_eq!(error.to_string(), "body is not JSON: expected value at line 1 column 10");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    kind: EventErrorKind,
    /// The JSON parser's message without the position, or an empty string if the kind is
    /// explanation enough.
    message: Box<str>,
    /// The line, starting at 1, or 0 if the position is unknown.
    line: usize,
    column: usize,
}

/// The kinds of [`EventError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// The body is not JSON, or is nested deeper than 128 levels.
    Syntax,
    /// The body is JSON but not an object.
    NotAnObject,
    /// The event type is missing or is not a string.
    MissingType,
    /// The payload (`data`) is missing.
    MissingPayload,
    /// The body is JSON, but does not fit the type that [`Delivery::json`](crate::Delivery::json)
    /// parses it into.
    Data,
}

impl EventError {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> EventErrorKind {
        self.kind
    }

    /// Returns the line of the error, starting at 1, or `None` if the position is unknown.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }

    /// Returns the column at which the parser stopped, in bytes and starting at 1, or `None` if the
    /// position is unknown.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        (self.line > 0).then_some(self.column)
    }

    /// Removes the position, which is useless to a caller that does not have the text.
    pub(super) fn without_position(self) -> Self {
        EventError {
            line: 0,
            column: 0,
            ..self
        }
    }

    /// Creates an error without a message.
    pub(super) fn of(kind: EventErrorKind) -> Self {
        EventError {
            kind,
            message: Box::default(),
            line: 0,
            column: 0,
        }
    }

    /// Converts an error from parsing the whole body.
    pub(crate) fn from_json(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Data => EventErrorKind::Data,
            _ => EventErrorKind::Syntax,
        };
        EventError {
            kind,
            message: message(error).into(),
            line: error.line(),
            column: error.column(),
        }
    }

    /// Converts a syntax error that the parser reported for the part of `body` that starts at
    /// `start`.
    pub(super) fn within(body: &[u8], start: usize, error: &serde_json::Error) -> Self {
        EventError {
            kind: EventErrorKind::Syntax,
            ..EventError::from_json(error).moved_by(body, start)
        }
    }

    /// Converts a position in the part of `body` that starts at `start` into a position in `body`.
    pub(super) fn moved_by(self, body: &[u8], start: usize) -> Self {
        let (line, column) = position(body, start);
        match self.line {
            0 => self,
            1 => EventError {
                line,
                column: column + self.column,
                ..self
            },
            further => EventError {
                line: line + further - 1,
                ..self
            },
        }
    }

    /// Converts a position in `strict`, the repaired text of `body`, into a position in `body`.
    pub(crate) fn before_repair(self, body: &[u8], strict: &[u8]) -> Self {
        // A repair does not change line breaks.
        let line = |text: &[u8]| -> usize {
            let lines = text.split_inclusive(|&byte| byte == b'\n');
            lines
                .take(self.line.saturating_sub(1))
                .map(<[u8]>::len)
                .sum()
        };
        let (start, strict_start) = (line(body), line(strict));
        let offset = offset_in(
            body.get(start..).unwrap_or_default(),
            strict.get(strict_start..).unwrap_or_default(),
            self.column,
        );
        EventError {
            column: offset,
            ..self
        }
    }

    /// Creates the error for a body that is not valid UTF-8 at `offset`. RFC 8259 requires UTF-8.
    pub(super) fn not_utf8(body: &[u8], offset: usize) -> Self {
        let (line, column) = position(body, offset);
        EventError {
            kind: EventErrorKind::Syntax,
            // The JSON parser reports invalid UTF-8 with the same message.
            message: "invalid unicode code point".into(),
            line,
            column: column + 1,
        }
    }
}

/// Returns the line of `offset`, starting from 1, and the number of bytes that precede it on that
/// line.
pub(super) fn position(body: &[u8], offset: usize) -> (usize, usize) {
    let before = body.get(..offset).unwrap_or(body);
    let lines = before.iter().filter(|&&byte| byte == b'\n').count();
    let column = before
        .iter()
        .rev()
        .take_while(|&&byte| byte != b'\n')
        .count();
    (lines + 1, column)
}

/// Returns the parser's message without the position that its `Display` appends.
pub(super) fn message(error: &serde_json::Error) -> String {
    let mut text = String::with_capacity(64);
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{error}");
    // `Display` writes the position if and only if the line is known.
    if error.line() > 0
        && let Some(end) = text.rfind(" at line ")
    {
        text.truncate(end);
    }
    text
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EventErrorKind::Syntax => write!(f, "body is not JSON: {}", self.message)?,
            EventErrorKind::NotAnObject => f.write_str("body is JSON, but not an object")?,
            EventErrorKind::MissingType => f.write_str("event has no type")?,
            EventErrorKind::MissingPayload => f.write_str("event has no payload")?,
            EventErrorKind::Data => write!(f, "body does not fit: {}", self.message)?,
        }
        match self.line {
            0 => Ok(()),
            line => write!(f, " at line {line} column {}", self.column),
        }
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_does_not_fit_is_data_and_other_text_is_syntax() {
        let data = EventError::from_json(&serde_json::from_str::<u8>("\n true").unwrap_err());
        assert_eq!(data.kind(), EventErrorKind::Data);
        assert_eq!(
            data.to_string(),
            "body does not fit: invalid type: boolean `true`, expected u8 at line 2 column 5"
        );

        let syntax = EventError::from_json(&serde_json::from_str::<u8>("").unwrap_err());
        assert_eq!(syntax.kind(), EventErrorKind::Syntax);
        assert_eq!(
            syntax.to_string(),
            "body is not JSON: EOF while parsing a value at line 1 column 0"
        );
    }

    #[test]
    fn a_position_within_a_part_is_moved_to_the_body() {
        let at = |body: &str, part: &str| {
            let offset = body.find(part).unwrap();
            let error = serde_json::from_str::<serde_json::Value>(&body[offset..]).unwrap_err();
            let error = EventError::within(body.as_bytes(), offset, &error);
            let whole = serde_json::from_str::<serde_json::Value>(body).unwrap_err();
            assert_eq!(error, EventError::from_json(&whole));
        };
        at("{\"data\": [NaN]}", "[NaN");
        at("{\n  \"data\": [NaN]}", "[NaN");
        at("{\n  \"data\": [\n1,\n NaN]}", "[\n1");
        at("{\"data\": \n[\n1,\nNaN]}", "[\n1");
    }
}
