use std::{
    fmt::{self, Write},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use crate::{delivery::Delivery, event::Id};

/// Longer parts are replaced by their SHA-256, so that a key has at most 203 bytes.
const MAX_PART: usize = 64;

/// What an event is known by in an [`IdempotencyStore`](super::IdempotencyStore).
///
/// The layer makes it of signed things only: the event's id or, where it has none that can
/// be used, a digest of the delivery's signature; together with the
/// [endpoint](crate::Delivery::endpoint) and the layer's
/// [`scope`](super::IdempotencyLayer::scope). It has at most 203 bytes, can hold any
/// character, and tells nothing that could not be logged.
///
/// Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// A key by that name: for the tests of a store.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of(delivery: &Delivery, scope: Option<&str>) -> Self {
        let mut key = String::with_capacity(64);
        if let Some(scope) = scope {
            push_named(&mut key, 's', scope);
        }
        if let Some(endpoint) = delivery.endpoint() {
            push_named(&mut key, 'e', endpoint);
        }
        let id = delivery.envelope().as_ref().ok();
        match id.and_then(|envelope| envelope.id.as_ref()) {
            Some(id) if is_usable(id) => push_id(&mut key, id),
            // Not the signature itself: keys may be seen by whoever sees the store.
            _ => push_digest(&mut key, 'm', &delivery.signature().to_string()),
        }
        Self(key.into())
    }
}

/// An empty id or 0 is what a sender writes that has none.
fn is_usable(id: &Id) -> bool {
    match id.as_str() {
        Some(text) => !text.is_empty(),
        None => id.as_u64() != Some(0),
    }
}

// Every part begins with a letter of its own, in upper case for a digest, and has a length
// or stands last: no two deliveries share a key by the way that it is written.

fn push_named(key: &mut String, tag: char, name: &str) {
    if name.len() > MAX_PART {
        push_digest(key, tag.to_ascii_uppercase(), name);
        key.push(';');
    } else {
        push(key, format_args!("{tag}{}:{name};", name.len()));
    }
}

/// 5 and "5" are different ids.
fn push_id(key: &mut String, id: &Id) {
    match id.as_str() {
        Some(text) if text.len() > MAX_PART => push_digest(key, 'T', text),
        Some(text) => push(key, format_args!("t{text}")),
        None => push(key, format_args!("n{id}")),
    }
}

fn push_digest(key: &mut String, tag: char, text: &str) {
    key.push(tag);
    for byte in Sha256::digest(text) {
        push(key, format_args!("{byte:02x}"));
    }
}

fn push(key: &mut String, part: fmt::Arguments<'_>) {
    // Writing into a `String` does not fail.
    let _ = key.write_fmt(part);
}

/// What the layer knows a delivery by, without a scope: also a good id for a job in a queue, as
/// every delivery of an event has the same.
///
/// ```
/// use axum::http::StatusCode;
/// use soundhash_webhook::{Delivery, idempotency::Key};
///
/// async fn receive(delivery: Delivery) -> StatusCode {
///     let key = Key::from(&delivery);
///     println!("{key}: {} bytes", delivery.body().len());
///     StatusCode::OK
/// }
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
impl From<&Delivery> for Key {
    fn from(delivery: &Delivery) -> Self {
        Self::of(delivery, None)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(body: &str, endpoint: Option<&str>, scope: Option<&str>) -> String {
        let signature = Secret::new("whsec_test").sign(body.as_bytes());
        let body = body.to_owned().into();
        let delivery = Delivery::new(body, signature, 0, endpoint.map(Into::into));
        Key::of(&delivery, scope).to_string()
    }

    fn with_id(id: &str) -> String {
        key(&format!(r#"{{"type":"a","data":1,"id":{id}}}"#), None, None)
    }

    #[test]
    fn it_is_the_id_with_its_type() {
        assert_eq!(with_id("5"), "n5");
        assert_eq!(with_id(r#""5""#), "t5");
        assert_eq!(with_id("-5"), "n-5");
        assert_eq!(with_id(r#""evt \u0000:;é""#), "tevt \u{0}:;é");
    }

    #[test]
    fn without_a_usable_id_it_is_a_digest_of_the_signature() {
        let bodies = [
            r#"{"type":"a","data":1}"#,
            r#"{"type":"a","data":1,"id":null}"#,
            r#"{"type":"a","data":1,"id":""}"#,
            r#"{"type":"a","data":1,"id":0}"#,
            r#"{"type":"a","data":NaN}"#,
            "",
        ];
        let mut keys: Vec<String> = bodies.iter().map(|body| key(body, None, None)).collect();
        for (key, body) in keys.iter().zip(bodies) {
            assert!(key.starts_with('m') && key.len() == 65, "{key}");
            let signature = Secret::new("whsec_test").sign(body.as_bytes()).to_string();
            assert!(!key.contains(&signature));
        }
        keys.dedup();
        assert_eq!(keys.len(), bodies.len());
    }

    /// Attack: a tenant writes into an id what makes it look like another tenant's key.
    #[test]
    fn no_part_can_be_mistaken_for_another() {
        let body = |id: &str| format!(r#"{{"type":"a","data":1,"id":"{id}"}}"#);
        let mut keys = vec![
            key(&body("x"), None, None),
            key(&body("x"), Some("acme"), None),
            key(&body("x"), None, Some("acme")),
            key(&body("x"), Some("a"), Some("cme")),
            key(&body("x"), Some("acme;e1:x"), None),
            key(&body("e4:acme;tx"), None, None),
            key(&body("e1:x;tx"), Some("acme"), None),
            key(&body("x"), Some(""), None),
        ];
        keys.sort();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn its_length_has_a_limit() {
        let long = "é".repeat(5000);
        let body = format!(r#"{{"type":"a","data":1,"id":"{long}"}}"#);
        assert!(key(&body, Some(&long), Some(&long)).len() <= 203);
        let edge = "x".repeat(64);
        assert_eq!(with_id(&format!(r#""{edge}""#)), format!("t{edge}"));
        let body = format!(r#"{{"type":"a","data":1,"id":"{edge}"}}"#);
        assert_eq!(
            key(&body, Some(&edge), Some(&edge)),
            format!("s64:{edge};e64:{edge};t{edge}")
        );
        assert_ne!(
            with_id(&format!(r#""{edge}x""#)),
            with_id(&format!(r#""{edge}y""#))
        );
    }
}
