//! The bytes that Python's `json.dumps` makes of a value.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Indented by two spaces.
pub(super) fn indented(value: &Value) -> Vec<u8> {
    written(value, PrettyFormatter::new())
}

/// On one line.
pub(super) fn one_line(value: &Value) -> Vec<u8> {
    written(value, OneLine)
}

fn written(value: &Value, formatter: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A `Value` has only strings for keys, and memory takes every byte: this cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    ascii(&String::from_utf8_lossy(&bytes)).into_bytes()
}

/// Outside of strings JSON is ASCII already, so what is not can be escaped wherever it stands.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a `String` does not fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// One line, with a space after each comma and colon: what Python's `json.dumps` writes.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W>(&mut self, writer: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W>(&mut self, writer: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W>(&mut self, writer: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        writer.write_all(b": ")
    }
}
