//! Why bytes are not an event.

use std::fmt;

/// Why a body could not be read as an [`Event`](crate::Event).
///
/// An authentic delivery meets this rarely: a payload that merely has an unexpected shape is
/// *not* an error but becomes [`EventData::Unrecognized`](crate::EventData::Unrecognized). What
/// remains is a body that is no JSON, or is no event at all. SoundHash's senders do write the
/// former now and then: `NaN` for a number, or half a surrogate pair in a title.
///
/// ```
/// use soundhash_webhook::{Event, EventErrorKind};
///
/// let error = Event::from_slice(br#"{"type": NaN, "data": {}}"#).unwrap_err();
/// assert_eq!(error.kind(), EventErrorKind::Syntax);
/// assert_eq!((error.line(), error.column()), (Some(1), Some(10)));
/// assert_eq!(error.to_string(), "body is not JSON: expected value at line 1 column 10");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    kind: EventErrorKind,
    /// What the JSON parser said, without its position. Empty for a kind that says it all.
    message: Box<str>,
    /// Both 1-based; line 0 stands for "no position".
    line: usize,
    column: usize,
}

/// The ways in which a body is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventErrorKind {
    /// The body is not JSON (RFC 8259), or nests deeper than 128 levels.
    Syntax,
    /// The body is JSON, but an array, a string, a number, `true`, `false` or `null`.
    NotAnObject,
    /// The object has no event type that is a string.
    MissingType,
    /// The object has no `data`.
    MissingPayload,
    /// The body is JSON that does not fit the type a caller asked for.
    Data,
}

impl EventError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> EventErrorKind {
        self.kind
    }

    /// The line of the body at which it is wrong, the first one being 1. `None` where the fault
    /// is that something is absent.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }

    /// The column, in bytes and 1-based, at which the parser stopped. `None` as for
    /// [`line`](Self::line).
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        (self.line > 0).then_some(self.column)
    }

    /// The same for someone who does not have the text that the position is in.
    pub(super) fn without_position(self) -> Self {
        EventError {
            line: 0,
            column: 0,
            ..self
        }
    }

    /// An error of a kind that needs no further words.
    pub(super) fn of(kind: EventErrorKind) -> Self {
        let message = Box::default();
        EventError {
            kind,
            message,
            line: 0,
            column: 0,
        }
    }

    /// An error of the JSON parser, which had the whole body before it.
    pub(crate) fn from_json(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Data => EventErrorKind::Data,
            _ => EventErrorKind::Syntax,
        };
        let message = message(error).into();
        EventError {
            kind,
            message,
            line: error.line(),
            column: error.column(),
        }
    }

    /// A syntax error of the JSON parser, which had only the part of `body` before it that begins
    /// at `offset`: the position is moved to where it is in the body.
    pub(super) fn within(body: &[u8], offset: usize, error: &serde_json::Error) -> Self {
        let (line, column) = position(body, offset);
        let column = match error.line() {
            0 | 1 => column + error.column(),
            _ => error.column(),
        };
        let line = line + error.line().saturating_sub(1);
        let message = message(error).into();
        EventError {
            kind: EventErrorKind::Syntax,
            message,
            line,
            column,
        }
    }

    /// The body is not UTF-8 from `offset` on (RFC 8259 §8.1 wants it to be).
    pub(super) fn not_utf8(body: &[u8], offset: usize) -> Self {
        let (line, column) = position(body, offset);
        // The parser's own words, so that one fault has one name.
        let message = "invalid unicode code point".into();
        EventError {
            kind: EventErrorKind::Syntax,
            message,
            line,
            column: column + 1,
        }
    }
}

/// The line of `offset`, 1-based, and the number of bytes before it in that line.
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

/// What the parser says, without the position that its `Display` appends.
pub(super) fn message(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    // It does so exactly if there is a line.
    if let Some(end) = text.rfind(" at line ").filter(|_| error.line() > 0) {
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
    fn json_that_does_not_fit_is_data_and_json_that_is_none_is_syntax() {
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
    fn an_error_without_a_position_says_none() {
        let value = serde_json::Value::Null;
        let error = EventError::from_json(&serde_json::from_value::<u8>(value).unwrap_err());
        assert_eq!((error.line(), error.column()), (None, None));
        assert_eq!(
            error.to_string(),
            "body does not fit: invalid type: null, expected u8"
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
