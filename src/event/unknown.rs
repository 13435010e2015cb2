//! Finds payload fields that the payload's type does not have, while the payload is being parsed.
//!
//! serde's derived implementations call `deserialize_ignored_any` for an unknown field, and
//! [`Watched`] wraps the parser to intercept that call. Known fields cost almost nothing, because
//! only a reference to the key is kept.

use std::{borrow::Cow, fmt};

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess,
    Visitor, value::StrDeserializer,
};

/// The maximum number of paths kept per envelope and per payload.
const MAX_FIELDS: usize = 16;
/// The maximum length of a field name in characters.
const MAX_NAME: usize = 64;

/// The fields that the portal adds to the payload of every event type.
const ADDED_BY_PORTAL: &[&str] = &["uploaded_at", "reset_at"];

/// Notes about one payload: its unknown fields and, if it does not fit its type, the field at
/// fault.
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
        // The innermost field is reported first and has the most precise path.
        self.misfit.get_or_insert_with(|| path.text());
    }
}

/// Adds a path to an event's unknown fields, up to [`MAX_FIELDS`].
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

    /// Appends the path to `text`, in a fraction of the time that `format!` would take.
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

/// Parses the payload at the start of `text`, and returns it along with its length.
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

/// A deserializer, visitor, sequence or seed, wrapped to watch part of the payload.
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
            key: Cow::default(),
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
    /// The key of the value that is parsed next.
    key: Cow<'de, str>,
    notes: &'a mut Notes,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let Some(Key(key)) = self.map.next_key()? else {
            return Ok(None);
        };
        self.key = key;
        seed.deserialize(StrDeserializer::new(&self.key)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(Watched {
            inner: seed,
            path: &Path::Field(self.object, &self.key),
            notes: self.notes,
        })
    }
}

/// A key, which is borrowed from the body unless it contains escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            #[cold]
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}
