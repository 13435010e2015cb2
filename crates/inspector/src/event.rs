//! Reads ids and types from bodies, and gives an event a new id and time.

use std::{ops::Range, time::SystemTime};

use soundhash_webhook::{Event, Sender, Timestamp};

use crate::random;

/// The maximum length of an id or a type. Longer ones are truncated, because attackers can choose
/// them.
const MAX_LABEL: usize = 200;
/// The maximum heap size of [`Labels`], in bytes.
pub(crate) const MAX_LABELS: usize = 2 * (MAX_LABEL + 4);

/// The parts of an event that the list shows.
#[derive(Default)]
pub(crate) struct Labels {
    pub(crate) id: Option<Box<str>>,
    pub(crate) event_type: Option<Box<str>>,
    pub(crate) sender: Option<Sender>,
}

impl Labels {
    pub(crate) fn of(event: Option<&Event>) -> Self {
        let Some(event) = event else {
            return Self::default();
        };
        Self {
            id: event.id.as_ref().map(|id| cut(&id.to_string())),
            event_type: Some(cut(event.event_type())),
            sender: event.sender(),
        }
    }
}

fn cut(text: &str) -> Box<str> {
    if text.len() <= MAX_LABEL {
        return text.into();
    }
    let end = (0..=MAX_LABEL).rev().find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)]).into()
}

/// Identifies the sender of a body by the body's envelope.
fn sender(body: &[u8]) -> Option<Sender> {
    fields(body).find_map(|(key, _)| match &body[key] {
        b"event" => Some(Sender::Portal),
        b"type" => Some(Sender::Dispatcher),
        _ => None,
    })
}

/// Gives an event a new id and the current time. All other bytes stay unchanged, so that parsers
/// treat the new event like the old one.
pub(crate) fn renewed(body: &[u8]) -> Vec<u8> {
    let Some(sender) = sender(body) else {
        return body.to_vec();
    };
    let now = Timestamp::try_from(SystemTime::now()).map(|it| it.to_string());
    let (id_key, id, time_key) = match sender {
        Sender::Portal => (
            "delivery_id",
            format!("del_{}", random::token()),
            "timestamp",
        ),
        Sender::Dispatcher => ("id", random::token(), "created_at"),
    };
    let mut renewed = Vec::with_capacity(body.len() + 64);
    let mut copied = 0;
    let mut has_id = false;
    for (key, value) in fields(body) {
        let new = match &body[key] {
            key if key == id_key.as_bytes() => {
                has_id = true;
                &id
            }
            key if key == time_key.as_bytes() => match &now {
                Ok(now) => now,
                Err(_) => continue,
            },
            _ => continue,
        };
        renewed.extend_from_slice(&body[copied..value.start]);
        renewed.extend_from_slice(format!("{new:?}").as_bytes());
        copied = value.end;
    }
    renewed.extend_from_slice(&body[copied..]);
    if !has_id && let Some(brace) = renewed.iter().position(|byte| *byte == b'{') {
        let field = format!("{id_key:?}: {id:?}, ");
        renewed.splice(brace + 1..=brace, field.into_bytes());
    }
    renewed
}

/// Returns the positions of the keys (without their quotes) and the values of a JSON object.
///
/// Also accepts Python's superset of JSON. Stops at text that it cannot parse.
fn fields(json: &[u8]) -> Fields<'_> {
    let mut fields = Fields { json, at: 0 };
    fields.skip_space();
    if fields.peek() == Some(b'{') {
        fields.at += 1;
    } else {
        fields.at = json.len();
    }
    fields
}

struct Fields<'a> {
    json: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Skips a string and returns the range between its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.json.get(end)? {
                b'\\' => end += 2,
                b'"' => break,
                _ => end += 1,
            }
        }
        self.at = end + 1;
        Some(start..end)
    }

    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        let len = self.json[start..self.at].trim_ascii_end().len();
        Some(start..start + len)
    }
}

impl Iterator for Fields<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
        if self.peek() != Some(b'"') {
            return None;
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return None;
        }
        self.at += 1;
        self.skip_space();
        Some((key, self.value()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_event_differs_in_id_and_time_only() {
        let old = br#"{"id": "g-lRS26_gP40W6FKCarKTg", "type": "match.found", "created_at": "2026-11-23T08:56:12.681555+00:00Z", "data": {"id": "x", "confidence": NaN, "list": ["}", "\"created_at\": 1"]} , "resource_id": "123"}"#;
        let new = String::from_utf8(renewed(old)).unwrap();
        assert!(new.contains(r#""data": {"id": "x", "confidence": NaN, "list": ["}", "\"created_at\": 1"]} , "resource_id": "123"}"#));
        assert!(
            !new.contains("g-lRS26") && !new.contains("2026-11-23"),
            "{new}"
        );
        assert_ne!(renewed(old), renewed(old));
    }

    #[test]
    fn an_event_without_an_id_gets_one() {
        let new = renewed(br#" {"event": "video.processed", "data": {"title": "x"}}"#);
        let event = Event::from_slice(&new).unwrap();
        assert!(event.id.unwrap().to_string().starts_with("del_"));
    }

    #[test]
    fn other_bodies_stay_unchanged() {
        let cut = [r#"{"type"#, r#"{"type": "#, r#"{"type": "\"#];
        for body in ["", "{", "[1]", r#"{"a": 1}"#].into_iter().chain(cut) {
            assert_eq!(renewed(body.as_bytes()), body.as_bytes());
        }
    }

    #[test]
    fn labels_are_bounded() {
        let (name, id) = ("é".repeat(5_000), "x".repeat(5_000));
        let body = format!(r#"{{"type": "{name}", "id": "{id}", "data": {{}}}}"#);
        let labels = Labels::of(Event::from_slice(body.as_bytes()).ok().as_ref());
        let len = labels.id.unwrap().len() + labels.event_type.unwrap().len();
        assert!(len <= MAX_LABELS, "{len}");
    }
}
