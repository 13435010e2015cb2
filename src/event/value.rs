//! Parses any JSON into a `serde_json::Value`.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A [`Value`] that is parsed the same way regardless of `serde_json`'s features.
///
/// Any crate in the build can enable these features. For example, axum's `json` feature enables
/// `raw_value`. Under `raw_value`, if the first key of an object is a certain private name, `Value`
/// parses the string after that key as JSON, with a fresh recursion limit. 200 kB of such objects,
/// each nested inside the previous one's string, overflow a thread's stack, which aborts the
/// process. `AnyJson` treats such objects like any other.
pub(super) struct AnyJson(pub(super) Value);

/// The key of the map that represents a number under `arbitrary_precision`.
const NUMBER: &str = "$serde_json::private::Number";

impl<'de> Deserialize<'de> for AnyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(AnyJson)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        let number = Number::from_i128(number);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        let number = Number::from_u128(number);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(AnyJson(value)) = seq.next_element()? {
            array.push(value);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut next: Option<String> = map.next_key()?;
        if next.as_deref() == Some(NUMBER) && numbers_are_maps() {
            let map = MapAccessDeserializer::new(Unread { first: next, map });
            let number = Number::deserialize(map)?;
            // Rejects the same numbers that the parser rejects without `arbitrary_precision`.
            return match number.as_f64() {
                Some(_) => Ok(Value::Number(number)),
                None => Err(de::Error::custom("number out of range")),
            };
        }
        while let Some(key) = next {
            let AnyJson(value) = map.next_value()?;
            object.insert(key, value);
            next = map.next_key()?;
        }
        Ok(object.into())
    }
}

/// Returns whether any crate in the build has enabled `arbitrary_precision`. Without it, a number
/// this large cannot be parsed.
fn numbers_are_maps() -> bool {
    "1e999".parse::<Number>().is_ok()
}

/// A map whose first key was read and then put back.
struct Unread<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Unread<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(StringDeserializer::new(key)).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_is_read_as_serde_json_reads_it() {
        for text in [
            "null",
            "true",
            "-0",
            "-0.0",
            "1.10",
            "1e2",
            "18446744073709551616",
            "[-9223372036854775808, 18446744073709551615]",
            r#"{"b": {"c": [1.5, "\ud83c\udfb5"]}, "a": 1, "b": 2}"#,
        ] {
            let AnyJson(value) = serde_json::from_str(text).unwrap();
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value, expected, "{text}");
            // Compares with `again` rather than `expected`, because serde_json turns a `Value`'s -0
            // into 0 under `arbitrary_precision`.
            let again = Value::deserialize(&expected).unwrap();
            assert_eq!(AnyJson::deserialize(&expected).unwrap().0, again, "{text}");
            assert_eq!(
                serde_json::from_value::<AnyJson>(expected).unwrap().0,
                again,
                "{text}"
            );
        }
    }

    #[test]
    fn an_object_with_a_private_key_is_an_object() {
        let text = r#"{"$serde_json::private::RawValue":"[1]"}"#;
        let AnyJson(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value.to_string(), text);

        // Under `arbitrary_precision`, serde_json cannot tell this object from a number.
        let text = r#"{"$serde_json::private::Number":"5"}"#;
        let AnyJson(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value.is_object(), !numbers_are_maps());
    }
}
