//! JSON objects that resemble events.

use std::{
    fmt::{self, Display},
    sync::LazyLock,
};

use arbitrary::{Arbitrary, Result, Unstructured};

/// The words that libFuzzer inserts. To fuzz a new type or field, add it only to this dictionary.
const DICTIONARY: &str = include_str!("../dictionaries/event.dict");

/// The dictionary's member names.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| words(r#"\": ""#));

/// The dictionary's event types, plus one that is unknown to every version of the crate.
static TYPES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut types = words(r#"\"""#);
    types.retain(|word| word.contains('.'));
    types.push("made.up");
    types
});

/// Returns the strings in the dictionary that are followed by `end`.
fn words(end: &str) -> Vec<&'static str> {
    let lines = DICTIONARY.lines();
    let words = lines.filter_map(|line| line.strip_prefix(r#""\""#)?.strip_suffix(end));
    words.filter(|word| !word.contains(['\\', '"'])).collect()
}

/// Values that parsers often get wrong.
const ODD: &[&str] = &[
    "-0",
    "-0.0",
    "1E+2",
    "1e-400",
    "5e-324",
    "1.7976931348623157e308",
    "0.1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "1e999",
    "NaN",
    "Infinity",
    "-Infinity",
    "-NaN",
    r#""\ud83c""#,
    r#""\ud83c\udfb5""#,
    r#""\u0000""#,
    r#""2026-11-23T08:56:12.681555+00:00Z""#,
    r#""2024-01-15T10:30:00Z""#,
    r#""test""#,
];

/// The text of an object, which is usually Python-style JSON and often an event.
///
/// `{:#}` writes the equivalent strict JSON instead.
#[derive(Debug)]
pub struct Document(Vec<Member>);

#[derive(Arbitrary, Debug)]
struct Member {
    space: Space,
    key: Key,
    value: Json,
}

#[derive(Arbitrary, Debug)]
enum Space {
    None,
    One,
    Line,
}

#[derive(Debug)]
enum Key {
    Known(&'static str),
    Escaped(&'static str),
    Other(String),
}

#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Natural(u64),
    Small(u8),
    Float(f64),
    Text(String),
    Type(&'static str),
    Odd(&'static str),
    Array(Vec<Json>),
    Object(Vec<Member>),
    Deep(u8),
}

impl<'a> Arbitrary<'a> for Document {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let mut members = vec![
            Member {
                space: Space::None,
                key: Key::Known(input.choose(&["type", "event"])?),
                value: Json::Type(input.choose(&TYPES)?),
            },
            Member {
                space: Space::One,
                key: Key::Known("data"),
                value: Json::arbitrary(input)?,
            },
        ];
        members.extend(Vec::<Member>::arbitrary(input)?);
        // Any member may be missing.
        if input.ratio(1, 8)? {
            members.remove(input.choose_index(members.len())?);
        }
        Ok(Self(members))
    }
}

impl<'a> Arbitrary<'a> for Key {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match input.int_in_range(0..=9)? {
            0 => Key::Other(input.arbitrary()?),
            1 => Key::Escaped(input.choose(&KEYS)?),
            _ => Key::Known(input.choose(&KEYS)?),
        })
    }
}

impl<'a> Arbitrary<'a> for Json {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        // Each level consumes at least one byte of input, so the recursion terminates.
        if input.is_empty() {
            return Ok(Json::Null);
        }
        Ok(match input.int_in_range(0..=14)? {
            0 => Json::Null,
            1 => Json::Bool(input.arbitrary()?),
            2 => Json::Integer(input.arbitrary()?),
            3 => Json::Natural(input.arbitrary()?),
            4 => Json::Small(input.arbitrary()?),
            5 => Json::Float(f64::arbitrary(input)?),
            6 => Json::Text(input.arbitrary()?),
            7 => Json::Type(input.choose(&TYPES)?),
            8 => Json::Odd(input.choose(ODD)?),
            9 => Json::Deep(input.arbitrary()?),
            10 | 11 => Json::Array(input.arbitrary()?),
            _ => Json::Object(input.arbitrary()?),
        })
    }
}

impl Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        object(&self.0, f)
    }
}

fn object(members: &[Member], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("{")?;
    for (index, Member { space, key, value }) in members.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let space = match space {
            Space::None => "",
            Space::One => " ",
            Space::Line => "\r\n\t",
        };
        write!(f, "{comma}{space}{key}{space}:{space}")?;
        value.fmt(f)?;
        f.write_str(space)?;
    }
    f.write_str("}")
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Known(name) => write!(f, "\"{name}\""),
            Key::Escaped(name) => {
                f.write_str("\"")?;
                let mut units = name.encode_utf16();
                units.try_for_each(|unit| write!(f, "\\u{unit:04x}"))?;
                f.write_str("\"")
            }
            Key::Other(name) => text(name, f),
        }
    }
}

impl Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(truth) => write!(f, "{truth}"),
            Json::Integer(number) => write!(f, "{number}"),
            Json::Natural(number) => write!(f, "{number}"),
            Json::Small(number) => write!(f, "{number}"),
            // Python writes non-finite floats by name. Strict JSON has `null` instead.
            Json::Float(number) if f.alternate() && !number.is_finite() => f.write_str("null"),
            Json::Float(number) if number.is_infinite() => f.write_str(if *number < 0.0 {
                "-Infinity"
            } else {
                "Infinity"
            }),
            Json::Float(number) => write!(f, "{number:?}"),
            Json::Text(words) => text(words, f),
            Json::Type(name) => write!(f, "\"{name}\""),
            Json::Odd(odd) if f.alternate() => f.write_str(strict(odd)),
            Json::Odd(odd) => f.write_str(odd),
            Json::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    f.write_str(comma)?;
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Json::Object(members) => object(members, f),
            Json::Deep(levels) => {
                let levels = usize::from(*levels);
                write!(f, "{}{}", "[".repeat(levels), "]".repeat(levels))
            }
        }
    }
}

/// Returns the strict JSON that is equivalent to `odd`.
fn strict(odd: &str) -> &str {
    match odd {
        "NaN" | "Infinity" | "-Infinity" | "1e999" => "null",
        r#""\ud83c""# => r#""\ufffd""#,
        other => other,
    }
}

fn text(words: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", serde_json::Value::from(words))
}
