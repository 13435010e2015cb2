//! Writes JSON as SoundHash's senders do, byte for byte.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{
    Serializer, Value,
    ser::{Formatter, PrettyFormatter},
};

use crate::event::Sender;

impl Sender {
    /// Returns the bytes that this sender writes for `event`.
    ///
    /// Line breaks, whitespace and escapes are identical to the sender's. The keys are in the order
    /// of the [`Value`], which is alphabetical unless `serde_json`'s `preserve_order` feature is
    /// on.
    ///
    /// ```
    /// use soundhash_webhook::Sender;
    ///
    /// let event = serde_json::json!({"a": [1, 2], "b": "é"});
    /// assert_eq!(Sender::Dispatcher.to_bytes(&event), br#"{"a": [1, 2], "b": "\u00e9"}"#);
    /// ```
    #[must_use]
    pub fn to_bytes(self, event: &Value) -> Vec<u8> {
        match self {
            Self::Portal => write(event, PrettyFormatter::new()),
            Self::Dispatcher => write(event, Spaced),
        }
    }
}

/// Writes a value with `formatter`, and escapes everything but printable ASCII, as Python's
/// `json.dumps` does.
fn write(event: &Value, formatter: impl Formatter) -> Vec<u8> {
    let mut json = Vec::new();
    event
        .serialize(&mut Serializer::with_formatter(&mut json, formatter))
        .expect("a value is always JSON, and a `Vec` takes any bytes");
    let mut ascii = Vec::with_capacity(json.len());
    for character in String::from_utf8_lossy(&json).chars() {
        // Any line break comes from `formatter`, because line breaks in strings are always escaped.
        if matches!(character, ' '..='~' | '\n') {
            ascii.push(character as u8);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a `Vec` cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}

/// Formats JSON on one line, with a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        w.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}
