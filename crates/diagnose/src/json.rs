//! Rewrites JSON text in another layout. Only the chosen details change, such as whitespace,
//! escapes or key order.
//!
//! A `serde_json::Value` cannot do this: it may sort the keys, and it rewrites numbers.

use std::io::Write;

/// The whitespace between the tokens.
#[derive(Clone, Copy)]
pub(crate) enum Spacing {
    /// No whitespace, as written by JavaScript and `serde_json`.
    Compact,
    /// One space after each comma and colon, as Python writes by default and as SoundHash's
    /// dispatcher sends.
    Spaced,
    /// One value per line, with this indentation. SoundHash's portal indents by two spaces.
    Indented(&'static str),
}

/// How strings are written.
#[derive(Clone, Copy)]
pub(crate) enum Escapes {
    Kept,
    /// Only the necessary escapes, as written by JavaScript and `serde_json`.
    Fewest,
    /// Escapes everything except printable ASCII, as Python does by default.
    Ascii,
}

/// How whole numbers are written.
#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    Kept,
    /// Whole numbers are written without a fraction. The exception is the value of a member with
    /// one of these names, which is written with a trailing `.0`.
    Whole {
        floats: &'a [&'a [u8]],
    },
}

/// Parsed JSON. Scalars are kept exactly as they were written, including Python's `NaN` and
/// unpaired surrogates.
#[derive(Clone)]
pub(crate) enum Json<'a> {
    Scalar(&'a [u8]),
    Array(Vec<Json<'a>>),
    Object(Vec<(&'a [u8], Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Parses `text`, or returns `None` if it is not JSON or is nested more deeply than `depth`.
    pub(crate) fn parse(text: &'a [u8], depth: usize) -> Option<Self> {
        let mut rest = text;
        let json = parse_value(&mut rest, depth)?;
        rest.trim_ascii().is_empty().then_some(json)
    }

    /// Returns the value of a member, if this is an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let mut named = members.iter().filter(|(key, _)| unescaped(key) == name);
        named.next().map(|(_, value)| value)
    }

    /// Returns the text of a string, number or literal.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Scalar(scalar) => Some(unescaped(scalar)),
            _ => None,
        }
    }

    /// Adds the names of all members whose values are whole numbers or arrays of whole numbers, and
    /// returns whether this value is one of these.
    ///
    /// Each member adds its name once, because a hostile body can give a long name to many numbers.
    pub(crate) fn whole_numbers(&self, names: &mut Vec<&'a [u8]>) -> bool {
        match self {
            Self::Scalar(scalar) => whole(scalar).is_some(),
            Self::Array(items) => {
                let mut any = false;
                for item in items {
                    any |= item.whole_numbers(names);
                }
                any
            }
            Self::Object(members) => {
                for (name, value) in members {
                    if value.whole_numbers(names) {
                        names.push(name);
                    }
                }
                false
            }
        }
    }

    /// Sorts the members of all objects.
    pub(crate) fn sort_by_key<K: Ord>(&mut self, key: &impl Fn(&str) -> K) {
        match self {
            Self::Scalar(_) => {}
            Self::Array(items) => {
                for item in items {
                    item.sort_by_key(key);
                }
            }
            Self::Object(members) => {
                members.sort_by_cached_key(|(name, _)| key(&unescaped(name)));
                for (_, value) in members {
                    value.sort_by_key(key);
                }
            }
        }
    }

    /// Returns the text in another layout, or `None` if it is longer than `limit`.
    pub(crate) fn write(
        &self,
        spacing: Spacing,
        escapes: Escapes,
        numbers: Numbers<'_>,
        limit: usize,
    ) -> Option<Vec<u8>> {
        let mut writer = Writer {
            out: Vec::new(),
            spacing,
            escapes,
            numbers,
            limit,
        };
        let is_float = writer.is_float(b"");
        writer.value(self, is_float, 0)?;
        Some(writer.out)
    }
}

fn parse_value<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Json<'a>> {
    *rest = rest.trim_ascii_start();
    let depth = depth.checked_sub(1)?;
    match rest.first()? {
        b'[' => {
            let mut items = Vec::new();
            parse_items(rest, b']', |rest| {
                items.push(parse_value(rest, depth)?);
                Some(())
            })?;
            Some(Json::Array(items))
        }
        b'{' => {
            let mut members = Vec::new();
            parse_items(rest, b'}', |rest| {
                *rest = rest.trim_ascii_start();
                let key = take_string(rest)?;
                *rest = rest.trim_ascii_start().strip_prefix(b":")?;
                members.push((key, parse_value(rest, depth)?));
                Some(())
            })?;
            Some(Json::Object(members))
        }
        b'"' => take_string(rest).map(Json::Scalar),
        _ => {
            let is_end = |byte: &u8| b",:[]{}\" \t\r\n".contains(byte);
            let len = rest.iter().position(is_end).unwrap_or(rest.len());
            let (scalar, after) = rest.split_at(len);
            *rest = after;
            (len > 0).then_some(Json::Scalar(scalar))
        }
    }
}

/// Parses the items between the opening bracket at the start of `rest` and `end`.
fn parse_items<'a>(
    rest: &mut &'a [u8],
    end: u8,
    mut item: impl FnMut(&mut &'a [u8]) -> Option<()>,
) -> Option<()> {
    *rest = rest[1..].trim_ascii_start();
    if let Some(after) = rest.strip_prefix(&[end]) {
        *rest = after;
        return Some(());
    }
    loop {
        item(rest)?;
        *rest = rest.trim_ascii_start();
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        match byte {
            b',' => {}
            _ if byte == end => return Some(()),
            _ => return None,
        }
    }
}

/// Takes a string from the start of `rest`, including both of its quotes.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let tail = rest.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = tail.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    })?;
    let (string, after) = rest.split_at(end + 2);
    *rest = after;
    Some(string)
}

/// Returns a scalar without its quotes and escapes, or unchanged if it cannot be represented as a
/// Rust string.
fn unescaped(scalar: &[u8]) -> String {
    serde_json::from_slice(scalar).unwrap_or_else(|_| String::from_utf8_lossy(scalar).into_owned())
}

/// Returns a whole number, with its sign and without a trailing `.0`.
fn whole(scalar: &[u8]) -> Option<&[u8]> {
    let digits = scalar.strip_suffix(b".0").unwrap_or(scalar);
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_whole = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    is_whole.then_some(digits)
}

struct Writer<'a> {
    out: Vec<u8>,
    spacing: Spacing,
    escapes: Escapes,
    numbers: Numbers<'a>,
    limit: usize,
}

impl Writer<'_> {
    /// Returns whether whole numbers in the member `name` are written with a fraction.
    fn is_float(&self, name: &[u8]) -> bool {
        matches!(self.numbers, Numbers::Whole { floats } if floats.contains(&name))
    }

    fn value(&mut self, json: &Json<'_>, is_float: bool, depth: usize) -> Option<()> {
        match json {
            Json::Scalar(scalar) => match (self.numbers, whole(scalar)) {
                (Numbers::Whole { .. }, Some(digits)) => {
                    self.out.extend(digits);
                    if is_float {
                        self.out.extend(b".0");
                    }
                }
                _ => self.scalar(scalar),
            },
            Json::Array(items) => {
                self.out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    self.separate(i == 0, depth + 1);
                    self.value(item, is_float, depth + 1)?;
                }
                self.close(items.is_empty(), depth, b']');
            }
            Json::Object(members) => {
                self.out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    self.separate(i == 0, depth + 1);
                    self.scalar(key);
                    self.out.extend(match self.spacing {
                        Spacing::Compact => &b":"[..],
                        _ => b": ",
                    });
                    self.value(value, self.is_float(key), depth + 1)?;
                }
                self.close(members.is_empty(), depth, b'}');
            }
        }
        (self.out.len() <= self.limit).then_some(())
    }

    fn separate(&mut self, is_first: bool, depth: usize) {
        if !is_first {
            self.out.push(b',');
        }
        match self.spacing {
            Spacing::Spaced if !is_first => self.out.push(b' '),
            _ => self.break_line(depth),
        }
    }

    /// Empty arrays and objects stay on one line.
    fn close(&mut self, is_empty: bool, depth: usize, bracket: u8) {
        if !is_empty {
            self.break_line(depth);
        }
        self.out.push(bracket);
    }

    fn break_line(&mut self, depth: usize) {
        if let Spacing::Indented(indent) = self.spacing {
            self.out.push(b'\n');
            self.out.extend(indent.repeat(depth).as_bytes());
        }
    }

    fn scalar(&mut self, scalar: &[u8]) {
        let text = match self.escapes {
            Escapes::Kept => None,
            // Numbers, literals and unpaired surrogates cannot be parsed as a Rust string, so they
            // are kept as written.
            _ => serde_json::from_slice::<String>(scalar)
                .and_then(|text| serde_json::to_string(&text))
                .ok(),
        };
        match (self.escapes, text) {
            (_, None) | (Escapes::Kept, _) => self.out.extend(scalar),
            (Escapes::Fewest, Some(text)) => self.out.extend(text.as_bytes()),
            (Escapes::Ascii, Some(text)) => {
                for character in text.chars() {
                    if matches!(character, ' '..='~') {
                        self.out.push(character as u8);
                        continue;
                    }
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing into a `Vec` cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
}
