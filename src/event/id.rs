use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, value::MapAccessDeserializer},
};
use serde_json::Number;

/// An id, which SoundHash writes as a whole number or as a string; the same field can be
/// either.
///
/// The number `5` and the string `"5"` are different ids.
///
/// ```
/// use soundhash_webhook::Id;
///
/// let id = Id::from("g-lRS26_gP40W6FKCarKTg");
/// assert_eq!(id.as_str(), Some("g-lRS26_gP40W6FKCarKTg"));
/// assert_eq!(Id::from(42u64).to_string(), "42");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    /// From `i64::MIN` to `u64::MAX`.
    Number(i128),
    String(String),
}

impl Id {
    /// The string, if it came as one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::String(string) => Some(string),
            Repr::Number(_) => None,
        }
    }

    /// The number, if it came as one that a `u64` holds.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.number()
    }

    /// The number, if it came as one that an `i64` holds.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.number()
    }

    fn number<T: TryFrom<i128>>(&self) -> Option<T> {
        match self.0 {
            Repr::Number(number) => number.try_into().ok(),
            Repr::String(_) => None,
        }
    }
}

/// The number 0: there so that payloads can be built in tests.
impl Default for Id {
    fn default() -> Self {
        Self::from(0u64)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => number.fmt(f),
            Repr::String(string) => f.pad(string),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "Id({number})"),
            Repr::String(string) => write!(f, "Id({string:?})"),
        }
    }
}

macro_rules! from_number {
    ($($number:ty),+) => {$(
        impl From<$number> for Id {
            fn from(number: $number) -> Self {
                Self(Repr::Number(number.into()))
            }
        }

        impl PartialEq<$number> for Id {
            fn eq(&self, number: &$number) -> bool {
                self.0 == Repr::Number((*number).into())
            }
        }
    )+};
}

from_number!(u32, i32, u64, i64);

impl From<&str> for Id {
    fn from(string: &str) -> Self {
        string.to_owned().into()
    }
}

impl From<String> for Id {
    fn from(string: String) -> Self {
        Self(Repr::String(string))
    }
}

impl PartialEq<str> for Id {
    fn eq(&self, string: &str) -> bool {
        self.as_str() == Some(string)
    }
}

impl PartialEq<&str> for Id {
    fn eq(&self, string: &&str) -> bool {
        self == *string
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(number) = self.as_u64() {
            serializer.serialize_u64(number)
        } else if let Some(number) = self.as_i64() {
            serializer.serialize_i64(number)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id, which is a whole number or a string")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, string: &str) -> Result<Id, E> {
        Ok(string.into())
    }

    fn visit_string<E: de::Error>(self, string: String) -> Result<Id, E> {
        Ok(string.into())
    }

    /// With `serde_json`'s `arbitrary_precision`, which any crate in the tree can switch on, a
    /// number comes as a map that only [`Number`] knows how to read.
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Id, A::Error> {
        let number = Number::deserialize(MapAccessDeserializer::new(map))?;
        let id = number.as_u64().map(Id::from);
        id.or_else(|| number.as_i64().map(Id::from))
            .ok_or_else(|| de::Error::invalid_type(Unexpected::Other("number"), &self))
    }
}
