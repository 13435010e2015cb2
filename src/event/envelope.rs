//! Parses the envelope of an event and, if possible in the same pass, the payload.
//!
//! SoundHash's two senders write different envelopes: the portal writes `event`, `delivery_id` and
//! `timestamp` where the dispatcher writes `type`, `id` and `created_at`. This file is the only one
//! that deals with the difference.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::data::EventData;
use super::error::{EventError, EventErrorKind};
use super::id::Id;
use super::kind::EventType;
use super::python::{offset_in, to_strict};
use super::resource::Resource;
use super::sender::Sender;
use super::timestamp::Timestamp;
use super::unknown::{Path, note};

/// An event whose payload has not been parsed yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) id: Option<Id>,
    pub(crate) created_at: Option<Timestamp>,
    /// Whether `id` is unique to this event.
    ///
    /// The dispatcher's `id` is unique. The portal's `delivery_id` is a millisecond timestamp,
    /// which two events can share.
    pub(crate) id_is_unique: bool,
    pub(super) webhook_id: Option<Id>,
    pub(crate) resource: Option<Resource>,
    pub(crate) event_type: EventType,
    pub(super) sender: Sender,
    /// The range of the payload within the original body. If the body had to be repaired, the
    /// payload may not be strict JSON.
    pub(super) payload: Range<usize>,
    pub(super) repaired: bool,
    /// The paths of the members that are unknown to this version of the crate.
    pub(super) unknown: Vec<String>,
}

impl Envelope {
    /// Parses the envelope of `body` and, if `parsed` is given, the payload in the same pass. If
    /// the payload comes before the type or is not strict JSON, only the envelope is parsed, and
    /// `parsed` is set to `None`.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is neither JSON nor Python's superset of JSON, if it is not an
    /// object, or if its type or payload is missing.
    pub(crate) fn read(
        body: &[u8],
        mut parsed: Option<&mut Parsed>,
    ) -> Result<Envelope, EventError> {
        // The scanner skips strings without checking that they are UTF-8.
        let text = std::str::from_utf8(body)
            .map_err(|error| EventError::not_utf8(body, error.valid_up_to()))?;
        let error = match Envelope::scan_strict(text, parsed.as_deref_mut()) {
            Err(error) if error.kind() == EventErrorKind::Syntax => error,
            result => return result,
        };
        let Some(strict) = to_strict(text) else {
            return Err(error);
        };
        let mut envelope = Envelope::scan_strict(&strict, parsed)
            .map_err(|error| error.before_repair(body, strict.as_bytes()))?;
        let original = |offset| offset_in(body, strict.as_bytes(), offset);
        envelope.payload = original(envelope.payload.start)..original(envelope.payload.end);
        envelope.repaired = true;
        // A repair replaces lone surrogates, which can make different ids identical.
        let id = envelope.id.as_ref().and_then(Id::as_str);
        envelope.id_is_unique &= !id.is_some_and(|id| id.contains('\u{fffd}'));
        Ok(envelope)
    }

    fn scan_strict(text: &str, mut parsed: Option<&mut Parsed>) -> Result<Envelope, EventError> {
        let fields = Fields::scan(text, parsed.as_deref_mut()).ok_or_else(|| {
            // The scanner does not report where an error is, so the parser has to find the
            // position.
            match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => EventError::of(EventErrorKind::NotAnObject),
                Err(error) => EventError::from_json(&error),
            }
        })?;
        let not_strict = |error| EventError::from_json(&error);

        let Some((event_type, sender)) = fields.event_type().map_err(not_strict)? else {
            return Err(EventError::of(EventErrorKind::MissingType));
        };
        let Some(payload) = fields.data else {
            return Err(EventError::of(EventErrorKind::MissingPayload));
        };
        // A later member of the envelope may have replaced the payload or changed its type.
        if let Some(parsed) = parsed
            && let Some((start, data, _)) = parsed
            && (*start != payload.start || data.event_type() != event_type.as_str())
        {
            *parsed = None;
        }

        let id = |raw: Option<&str>| raw.map_or(Ok(None), id).map_err(not_strict);
        let dispatcher_id = id(fields.id)?;
        let resource_type = fields.resource_type.map_or(Ok(None), string);
        let resource = Resource {
            id: id(fields.resource_id)?,
            resource_type: resource_type.map_err(not_strict)?.map(Cow::into_owned),
        };
        Ok(Envelope {
            id_is_unique: dispatcher_id.is_some(),
            id: match dispatcher_id {
                Some(id) => Some(id),
                None => id(fields.delivery_id)?,
            },
            created_at: (fields.created_at.and_then(timestamp))
                .or_else(|| fields.timestamp.and_then(timestamp)),
            webhook_id: id(fields.webhook_id)?,
            resource: (resource != Resource::default()).then_some(resource),
            event_type,
            sender,
            payload,
            repaired: false,
            unknown: fields.unknown,
        })
    }
}

// The next two functions fail only if the text is not strict JSON. A value of the wrong type is
// treated as absent, because every member of an envelope is optional or has an alternative name.

/// Parses a JSON string, or returns `None` for any other JSON value.
fn string(raw: &str) -> serde_json::Result<Option<Cow<'_, str>>> {
    let Some(inner) = raw.strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
        return Ok(None);
    };
    match inner.contains('\\') {
        false => Ok(Some(Cow::Borrowed(inner))),
        true => serde_json::from_str(raw).map(|text| Some(Cow::Owned(text))),
    }
}

fn id(raw: &str) -> serde_json::Result<Option<Id>> {
    if raw.starts_with('"') {
        return Ok(string(raw)?.map(|text| Id::from(&*text)));
    }
    match serde_json::from_str(raw) {
        Err(error) if error.is_data() => Ok(None),
        result => result.map(Some),
    }
}

fn timestamp(raw: &str) -> Option<Timestamp> {
    string(raw).ok()??.parse().ok()
}

/// A payload that was parsed together with its envelope: its offset, its data, and the paths of its
/// unknown fields. It is passed by reference, because moving it would cost a tenth of the time that
/// it takes to parse an event.
pub(crate) type Parsed = Option<(usize, EventData, Vec<String>)>;

/// The known members of an envelope, before they are parsed. If a key occurs twice, the last value
/// wins, as it does in Python and in `serde_json::Value`.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a str>,
    delivery_id: Option<&'a str>,
    r#type: Option<&'a str>,
    event: Option<&'a str>,
    created_at: Option<&'a str>,
    timestamp: Option<&'a str>,
    webhook_id: Option<&'a str>,
    resource_id: Option<&'a str>,
    resource_type: Option<&'a str>,
    data: Option<Range<usize>>,
    unknown: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Finds the members of the object `text`, or returns `None` if `text` is not an object in
    /// strict JSON. If the caller wants the payload and the type comes before it, the payload is
    /// parsed too.
    ///
    /// `serde_json::value::RawValue` could do most of this, but it needs a feature of `serde_json`
    /// that changes how every `Value` in the program is parsed.
    fn scan(text: &'a str, mut parsed: Option<&mut Parsed>) -> Option<Self> {
        let mut fields = Fields::default();
        let mut scanner = Scanner { text, at: 0 };
        scanner.eat(b'{')?;
        let mut more = scanner.eat(b'}').is_none();
        while more {
            let key = text.get(scanner.value()?)?;
            let inner = key.strip_prefix('"')?.strip_suffix('"')?;
            scanner.eat(b':')?;
            let value = match &mut parsed {
                Some(parsed) if inner == "data" => fields.payload(&mut scanner, parsed)?,
                _ => scanner.value()?,
            };
            let raw = text.get(value.clone())?;
            if !fields.set(inner, raw, &value) {
                // If the key contains an escape that only Python accepts, it cannot be a known key.
                let key = string(key).ok().flatten().unwrap_or(Cow::Borrowed(inner));
                if !fields.set(&key, raw, &value) {
                    note(&mut fields.unknown, &Path::Envelope(&key));
                }
            }
            more = scanner.eat(b',').is_some();
            if !more {
                scanner.eat(b'}')?;
            }
        }
        scanner.is_at_end().then_some(fields)
    }

    /// Returns the event type and the sender that writes it under this key, if the type is among
    /// the members found so far.
    fn event_type(&self) -> serde_json::Result<Option<(EventType, Sender)>> {
        let members = [
            (self.r#type, Sender::Dispatcher),
            (self.event, Sender::Portal),
        ];
        for (raw, sender) in members {
            if let Some(name) = raw.map_or(Ok(None), string)? {
                return Ok(Some((name.into(), sender)));
            }
        }
        Ok(None)
    }

    /// Parses the payload if its type has already been found, and skips it otherwise.
    fn payload(&self, scanner: &mut Scanner<'a>, parsed: &mut Parsed) -> Option<Range<usize>> {
        scanner.skip_space();
        let start = scanner.at;
        if let Ok(Some((event_type, _))) = self.event_type()
            && let Ok((data, length, unknown)) =
                EventData::read(&event_type, scanner.text.get(start..)?)
        {
            *parsed = Some((start, data, unknown));
            scanner.at += length;
            return Some(start..scanner.at);
        }
        *parsed = None;
        scanner.value()
    }

    /// Stores the member, and returns whether its key is known.
    fn set(&mut self, key: &str, raw: &'a str, range: &Range<usize>) -> bool {
        let field = match key {
            "id" => &mut self.id,
            "delivery_id" => &mut self.delivery_id,
            "type" => &mut self.r#type,
            "event" => &mut self.event,
            "created_at" => &mut self.created_at,
            "timestamp" => &mut self.timestamp,
            "webhook_id" => &mut self.webhook_id,
            "resource_id" => &mut self.resource_id,
            "resource_type" => &mut self.resource_type,
            "data" => {
                self.data = Some(range.clone());
                return true;
            }
            _ => return false,
        };
        *field = Some(raw);
        true
    }
}

/// A position in JSON text that advances one value at a time.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// Skips `punctuation`, or returns `None` if it is not the next character.
    fn eat(&mut self, punctuation: u8) -> Option<()> {
        self.skip_space();
        if self.text.as_bytes().get(self.at) != Some(&punctuation) {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Skips a value and returns its range. `serde_json` skips values without recursion, so they
    /// can be nested arbitrarily deep.
    fn value(&mut self) -> Option<Range<usize>> {
        self.skip_space();
        let start = self.at;
        let rest = self.text.get(start..)?;
        if let Some(length) = plain_string(rest.as_bytes()) {
            self.at += length;
            return Some(start..self.at);
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(start..self.at)
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }
}

/// Returns the length of the string at the start of `rest`, or `None` if the string contains
/// escapes.
///
/// Most members are strings without escapes, and scanning those is cheaper than creating a parser.
fn plain_string(rest: &[u8]) -> Option<usize> {
    let inner = rest.strip_prefix(b"\"")?;
    let (words, end) = inner.as_chunks();
    let is_special = |&byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    let bits = words.iter().map(|word| special(*word));
    let found = bits.enumerate().find(|(_, bits)| *bits != 0);
    let length = match found {
        Some((index, bits)) => 8 * index + bits.trailing_zeros() as usize / 8,
        None => 8 * words.len() + end.iter().position(is_special)?,
    };
    (inner.get(length) == Some(&b'"')).then_some(length + 2)
}

/// Returns a mask whose lowest set bit is in the byte of the first quote, backslash or control
/// character in `word`, or 0 if `word` contains none of these.
fn special(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(word);
    // Only a matching byte can cause a borrow from the byte after it. A borrow can cause a false
    // match later in the word, but the first match is always correct.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_string_ends_at_its_quote() {
        for length in 0..40 {
            let plain = format!("\"{}\", \\u0022 \n", "é~\u{7f}".repeat(length));
            assert_eq!(
                plain_string(plain.as_bytes()),
                plain.find("\",").map(|end| end + 1)
            );
            for byte in (0..b' ').chain([b'\\']) {
                let string = format!("\"{}{}\"", "é".repeat(length), char::from(byte));
                assert_eq!(plain_string(string.as_bytes()), None, "{string:?}");
            }
        }
        assert_eq!(plain_string(b"\"1234567"), None);
    }

    #[test]
    fn the_payload_is_parsed_with_the_envelope_if_its_type_comes_first() {
        let known = r#"{"user_id": 1, "username": "a", "email": "b"}"#;
        for (body, expected) in [
            (
                format!(r#"{{"type": "user.created", "data": {known}}}"#),
                true,
            ),
            (
                format!(r#"{{"event": "user.created", "data": {known}, "type": 1}}"#),
                true,
            ),
            (
                r#"{"type": "made.up", "data": [1, 2], "id": 7}"#.to_owned(),
                true,
            ),
            (r#"{"type": "user.created", "data": NaN}"#.to_owned(), true),
            (
                format!(r#"{{"data": {known}, "type": "user.created"}}"#),
                false,
            ),
            // A later member of the envelope replaces the payload or changes its type.
            (
                format!(r#"{{"event": "user.created", "data": {known}, "type": "x"}}"#),
                false,
            ),
            (
                format!(r#"{{"type": "user.created", "data": {known}, "d\u0061ta": 1}}"#),
                false,
            ),
            // The scanner accepts this payload. Only the payload's parser notices that it has to be
            // repaired.
            (r#"{"type": "made.up", "data": "\ud83c"}"#.to_owned(), false),
        ] {
            let mut parsed = None;
            let envelope = Envelope::read(body.as_bytes(), Some(&mut parsed)).unwrap();
            assert_eq!(parsed.is_some(), expected, "{body}");
            assert_eq!(Envelope::read(body.as_bytes(), None).unwrap(), envelope);
        }
    }

    #[test]
    fn the_range_of_the_payload_is_that_in_the_original_body() {
        for payload in [
            "NaN",
            "[NaN, NaN]",
            r#"{"a": -Infinity, "NaN": 1e999}"#,
            r#""\ud83c""#,
        ] {
            let body =
                format!(r#"{{"x": [NaN, NaN], "data": {payload} , "type": "made.up", "y": NaN}}"#);
            let envelope = Envelope::read(body.as_bytes(), None).unwrap();
            assert_eq!(&body[envelope.payload.clone()], payload);
        }
    }
}
