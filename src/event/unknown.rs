//! Finds the fields of a payload that its type does not have, while the payload is parsed.
//!
//! serde's derived implementations call `deserialize_ignored_any` for such a field, and [`Watched`]
//! wraps the parser to intercept these calls. Known fields cost almost nothing, because only a
//! reference to the key is kept.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// The maximum number of paths that an event keeps.
const MAX_FIELDS: usize = 16;
/// The maximum length of a field's name in characters.
const MAX_NAME: usize = 64;

/// The fields that the portal adds to the payloads of all types.
const ADDED_BY_PORTAL: &[&str] = &["uploaded_at", "reset_at"];

/// Notes about one payload: its unknown fields, and the field that does not fit.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) unknown: Vec<String>,
    /// The path of the field that does not fit its type.
    misfit: Option<String>,
}

impl Notes {
    /// Prefixes an error message with the path of the field that does not fit.
    pub(super) fn locate(self, message: String) -> String {
        match self.misfit {
            Some(path) => format!("{path}: {message}"),
            None => message,
        }
    }

    #[cold]
    fn unknown(&mut self, path: &Path<'_>) {
        match path {
            Path::Field(Path::Payload, name) if ADDED_BY_PORTAL.contains(name) => {}
            path => note(&mut self.unknown, path),
        }
    }

    #[cold]
    fn misfit(&mut self, path: &Path<'_>) {
        // The innermost field is reported first, and its path is the most precise.
        self.misfit.get_or_insert_with(|| path.text());
    }
}

/// Adds a path to the unknown fields of an event, up to [`MAX_FIELDS`].
#[cold]
pub(super) fn note(unknown: &mut Vec<String>, path: &Path<'_>) {
    if unknown.len() < MAX_FIELDS {
        let path = path.text();
        if !unknown.contains(&path) {
            unknown.push(path);
        }
    }
}

/// The path of a value in the body, such as `data.matches[].title`.
pub(super) enum Path<'a> {
    Envelope(&'a str),
    Payload,
    Field(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>),
}

impl Path<'_> {
    fn text(&self) -> String {
        let mut text = String::with_capacity(32);
        self.append_to(&mut text);
        text
    }

    /// Appends the path to `text`, which takes a fraction of the time that `format!` would take.
    fn append_to(&self, text: &mut String) {
        let name = match self {
            Path::Payload => return text.push_str("data"),
            Path::Element(list) => {
                list.append_to(text);
                return text.push_str("[]");
            }
            Path::Envelope(name) => name,
            Path::Field(object, name) => {
                object.append_to(text);
                text.push('.');
                name
            }
        };
        match name.char_indices().nth(MAX_NAME) {
            Some((end, _)) => text.extend([&name[..end], "…"]),
            None => text.push_str(name),
        }
    }
}

/// Parses the payload at the start of `text`, and returns it with its length.
pub(super) fn watched<T: DeserializeOwned>(
    text: &str,
    notes: &mut Notes,
) -> serde_json::Result<(T, usize)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let payload = T::deserialize(Watched {
        inner: &mut json,
        path: &Path::Payload,
        notes,
    })?;
    Ok((payload, json.into_iter::<de::IgnoredAny>().byte_offset()))
}

/// A deserializer, visitor, sequence or seed that is wrapped to watch a part of the payload.
struct Watched<'a, T> {
    inner: T,
    path: &'a Path<'a>,
    notes: &'a mut Notes,
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $Type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $Type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

macro_rules! pass_on_watched {
    ($($method:ident($($argument:ident: $Type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $Type,)* visitor: V) -> Result<V::Value, D::Error> {
            let Self { inner, path, notes } = self;
            inner.$method($($argument,)* Watched { inner: visitor, path, notes })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Watched<'_, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32()
        deserialize_i64() deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32()
        deserialize_u64() deserialize_u128() deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_unit() deserialize_map() deserialize_identifier()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    pass_on_watched! {
        deserialize_option()
        deserialize_seq()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.notes.unknown(self.path);
        self.inner.deserialize_ignored_any(visitor)
    }
}

/// The visitor of an object, a list or an optional value.
impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Self {
            inner: visitor,
            path,
            notes,
        } = self;
        visitor.visit_some(Watched { inner, path, notes })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Watched {
            inner: seq,
            path: &Path::Element(self.path),
            notes: self.notes,
        })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Members {
            map,
            object: self.path,
            key: Key::default(),
            notes: self.notes,
        })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Watched<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Watched {
            inner: seed,
            path: self.path,
            notes: self.notes,
        })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Watched<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Self {
            inner: seed,
            path,
            notes,
        } = self;
        let value = seed.deserialize(Watched { inner, path, notes });
        if value.is_err() {
            notes.misfit(path);
        }
        value
    }
}

struct Members<'a, 'de, A> {
    map: A,
    object: &'a Path<'a>,
    key: Key<'de>,
    notes: &'a mut Notes,
}

/// The key of the value that is parsed next.
#[derive(Default)]
struct Key<'de> {
    /// The key as it is in the body, or `None` if it contains escapes.
    borrowed: Option<&'de str>,
    unescaped: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.map.next_key_seed(Noting {
            inner: seed,
            key: &mut self.key,
        })
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let key = self.key.borrowed.unwrap_or(&self.key.unescaped);
        self.map.next_value_seed(Watched {
            inner: seed,
            path: &Path::Field(self.object, key),
            notes: self.notes,
        })
    }
}

/// The seed, deserializer or visitor of a key, wrapped to remember the key.
struct Noting<'a, 'de, T> {
    inner: T,
    key: &'a mut Key<'de>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Noting<'_, 'de, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Self { inner: seed, key } = self;
        seed.deserialize(Noting { inner, key })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Noting<'_, 'de, D> {
    type Error = D::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, key } = self;
        inner.deserialize_any(Noting {
            inner: visitor,
            key,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Noting<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    #[inline]
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<V::Value, E> {
        self.key.borrowed = Some(text);
        self.inner.visit_borrowed_str(text)
    }

    #[cold]
    fn visit_str<E: de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.key.borrowed = None;
        self.key.unescaped.clear();
        self.key.unescaped.push_str(text);
        self.inner.visit_str(text)
    }
}
