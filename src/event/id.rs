//! An [`Id`], which is a number or a string.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// An id, which SoundHash writes as an integer or as a string.
///
/// SoundHash's senders use both forms, sometimes for the same kind of id (`"video_id": 123` and
/// `"query_video_id": "abc123"`). An id serializes in the form in which it arrived. The number `5`
/// and the string `"5"` are different ids.
///
/// ```
/// use soundhash_webhook::Id;
///
/// let id = Id::from("abc123");
/// assert_eq!(id.as_str(), Some("abc123"));
/// assert_eq!(id, "abc123");
///
/// let id = Id::from(123_u64);
/// assert_eq!(id.as_u64(), Some(123));
/// assert_eq!(id.to_string(), "123");
/// assert_ne!(id, Id::from("123"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    /// An integer from `i64::MIN` to `u64::MAX`, the range that `serde_json` represents exactly.
    Number(i128),
    String(Box<str>),
}

impl Id {
    /// Returns the id if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::String(text) => Some(text),
            Repr::Number(_) => None,
        }
    }

    /// Returns the id if it is a non-negative number.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Repr::Number(number) => number.try_into().ok(),
            Repr::String(_) => None,
        }
    }

    /// Returns the id if it is a number no greater than `i64::MAX`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Number(number) => number.try_into().ok(),
            Repr::String(_) => None,
        }
    }
}

/// Defaults to the number 0.
impl Default for Id {
    fn default() -> Self {
        Id::from(0_u64)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => fmt::Display::fmt(number, f),
            Repr::String(text) => f.pad(text),
        }
    }
}

/// Shows `Id(5)` or `Id("5")`.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => f.debug_tuple("Id").field(number).finish(),
            Repr::String(text) => f.debug_tuple("Id").field(text).finish(),
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Id {
            fn from(number: $integer) -> Self {
                Id(Repr::Number(number.into()))
            }
        }
    )*};
}

from_integer!(u64, i64, u32, i32);

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Id(Repr::String(text.into()))
    }
}

impl From<String> for Id {
    fn from(text: String) -> Self {
        Id(Repr::String(text.into()))
    }
}

impl PartialEq<str> for Id {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Id {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<u64> for Id {
    fn eq(&self, other: &u64) -> bool {
        self.as_u64() == Some(*other)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::String(text) => serializer.serialize_str(text),
            // Not every format supports 128-bit integers, and 64 bits are enough for the range.
            Repr::Number(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_u64(number),
                (_, Ok(number)) => serializer.serialize_i64(number),
                _ => serializer.serialize_i128(*number),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id (a 64-bit integer or a string)")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        Ok(text.into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Id, E> {
        Ok(text.into())
    }

    // Any crate in the build can enable serde_json's `arbitrary_precision` feature. A number then
    // arrives as a map with a private key that only `Number` understands.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Id, A::Error> {
        let number = serde_json::Number::deserialize(MapAccessDeserializer::new(map))
            .map_err(|_| de::Error::invalid_type(Unexpected::Map, &self))?;
        (number.as_u64().map(Id::from))
            .or_else(|| number.as_i64().map(Id::from))
            .ok_or_else(|| de::Error::invalid_type(Unexpected::Other("number"), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads_back(json: &str, expected: impl Into<Id>) {
        let expected = expected.into();
        let id: Id = serde_json::from_str(json).unwrap();
        assert_eq!(id, expected);
        assert_eq!(serde_json::to_string(&id).unwrap(), json);
        // Deserializing from a `Value` calls different visitor methods than deserializing from JSON
        // text.
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::from_value::<Id>(value.clone()).unwrap(),
            expected
        );
        assert_eq!(Id::deserialize(&value).unwrap(), expected);
    }

    #[test]
    fn integers_and_strings_are_written_as_they_came() {
        reads_back("0", Id::default());
        reads_back("18446744073709551615", Id::from(u64::MAX));
        reads_back("-9223372036854775808", Id::from(i64::MIN));
        reads_back("7", Id::from(7_u32));
        reads_back("-7", Id::from(-7_i32));
        reads_back(r#""""#, Id::from(""));
        reads_back(r#""5""#, Id::from("5"));
        reads_back(r#""a \" b""#, Id::from(String::from("a \" b")));
    }

    #[test]
    fn nothing_else_is_an_id() {
        let tail = "expected an id (a 64-bit integer or a string)";
        for json in [
            "1.0",
            "18446744073709551616",
            "null",
            "true",
            "[]",
            "{}",
            r#"{"a":1}"#,
        ] {
            let message = serde_json::from_str::<Id>(json).unwrap_err().to_string();
            assert!(message.contains(tail), "{json}: {message}");
        }
    }

    #[test]
    fn a_number_is_not_its_digits() {
        assert_ne!(Id::from(5_u64), Id::from("5"));
        assert_ne!(Id::from(5_u64), "5");
        assert_ne!(Id::from("5"), 5_u64);
        assert_eq!(Id::from("5"), *"5");
        assert_eq!(Id::from(5_i32), 5_u64);
        let (number, text) = (Id::from(6_u64), Id::from("5"));
        assert_eq!(number.cmp(&text), std::cmp::Ordering::Less);
        assert_eq!(
            format!("{:?} {:?}", Id::from(5_u64), Id::from("5")),
            r#"Id(5) Id("5")"#
        );
    }

    #[test]
    fn accessors_give_only_what_fits() {
        let (big, negative, text) = (Id::from(u64::MAX), Id::from(-1_i64), Id::from("1"));
        assert_eq!(
            (big.as_u64(), big.as_i64(), big.as_str()),
            (Some(u64::MAX), None, None)
        );
        assert_eq!((negative.as_u64(), negative.as_i64()), (None, Some(-1)));
        assert_eq!(
            (text.as_u64(), text.as_i64(), text.as_str()),
            (None, None, Some("1"))
        );
        assert_eq!(
            [big, negative, text].map(|id| id.to_string()),
            ["18446744073709551615", "-1", "1"]
        );
    }
}
