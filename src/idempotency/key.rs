//! The key that identifies an event in a store.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use base16ct::HexDisplay;
use sha2::{Digest, Sha256};

use crate::{delivery::Delivery, event::Id};

/// The maximum length in bytes of one part of a key. Longer parts are replaced by their SHA-256
/// digest.
const MAX_PART: usize = 64;

/// Identifies an event in an [`IdempotencyStore`](super::IdempotencyStore).
///
/// The layer derives the key only from signed data:
///
/// - If SoundHash's [dispatcher](crate::Sender::Dispatcher) sent the event, the key is its `id`.
/// - If the [portal](crate::Sender::Portal) sent the event, the key is the `delivery_id` plus the
///   SHA-256 of the body. The `delivery_id` alone is not enough, because it is a millisecond
///   timestamp, which two events can share. Retries have the same body, and therefore the same key.
/// - Otherwise, the key is the SHA-256 of the body.
///
/// The key starts with the delivery's [endpoint](crate::Delivery::endpoint) and the layer's
/// [`scope`](super::IdempotencyLayer::scope), if they are set. A key can contain arbitrary
/// characters. It is at most 272 bytes long, because longer ids are replaced by their SHA-256.
///
/// Keys are cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Creates a key from its text, for example one that was stored or logged.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the key as text.
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
        let envelope = delivery.envelope().as_ref().ok();
        let id = envelope.and_then(|envelope| {
            let id = envelope.id.as_ref().filter(|id| !is_empty(id))?;
            Some((id, envelope.id_is_unique))
        });
        match id {
            Some((id, true)) => push_id(&mut key, id),
            Some((id, false)) => {
                push_named(&mut key, 'd', &id.to_string());
                push_digest(&mut key, 'b', delivery.body());
            }
            None => push_digest(&mut key, 'b', delivery.body()),
        }
        Self(key.into())
    }
}

/// Returns whether the id is an empty string or 0, which is what senders write if there is no id.
fn is_empty(id: &Id) -> bool {
    id.as_str().map_or(id.as_u64() == Some(0), str::is_empty)
}

// Each part of a key starts with a letter that stands for its kind. The letter is uppercase if the
// part is a digest. A part either states its length or comes last, so that its text cannot be
// mistaken for another part.

fn push_named(key: &mut String, tag: char, name: &str) {
    if name.len() > MAX_PART {
        push_digest(key, tag.to_ascii_uppercase(), name.as_bytes());
        key.push(';');
    } else {
        push(key, format_args!("{tag}{}:{name};", name.len()));
    }
}

/// Appends an id along with its type, because the number 5 and the string "5" are different ids.
fn push_id(key: &mut String, id: &Id) {
    match id.as_str() {
        Some(text) if text.len() > MAX_PART => push_digest(key, 'T', text.as_bytes()),
        Some(text) => push(key, format_args!("t{text}")),
        None => push(key, format_args!("n{id}")),
    }
}

fn push_digest(key: &mut String, tag: char, bytes: &[u8]) {
    push(
        key,
        format_args!("{tag}{:x}", HexDisplay(&Sha256::digest(bytes))),
    );
}

fn push(key: &mut String, part: fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = key.write_fmt(part);
}

/// Returns the key that a layer without a scope creates for the delivery.
///
/// All deliveries of an event have the same key, so it is also a good id for a queued job.
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
        let delivery = Delivery::new(body, signature, 0, None, endpoint.map(Into::into));
        Key::of(&delivery, scope).to_string()
    }

    fn with_id(id: &str) -> String {
        key(&format!(r#"{{"type":"a","data":1,"id":{id}}}"#), None, None)
    }

    fn digest(body: &str) -> String {
        format!("{:x}", HexDisplay(&Sha256::digest(body)))
    }

    #[test]
    fn the_dispatchers_id_is_the_end_of_the_key() {
        assert_eq!(with_id("5"), "n5");
        assert_eq!(with_id(r#""5""#), "t5");
        assert_eq!(with_id("-5"), "n-5");
        assert_eq!(with_id(r#""5","delivery_id":"6""#), "t5");
        assert_eq!(with_id(r#""evt \u0000:;é""#), "tevt \u{0}:;é");
    }

    #[test]
    fn the_portals_delivery_id_is_joined_by_a_digest_of_the_body() {
        for (id, written) in [(r#""del_1""#, "d5:del_1;b"), ("17", "d2:17;b")] {
            let body = format!(r#"{{"event":"a","data":1,"delivery_id":{id}}}"#);
            assert_eq!(
                key(&body, None, None),
                format!("{written}{}", digest(&body))
            );
        }
        // A repair replaces lone surrogates, which can make different ids equal. The key therefore
        // also contains a digest of the body.
        let body = r#"{"type":"a","data":1,"id":"a\ud83c"}"#;
        let joined = format!("d4:a\u{fffd};b{}", digest(body));
        assert_eq!(key(body, None, None), joined);
    }

    #[test]
    fn without_an_id_the_key_is_a_digest_of_the_body() {
        for body in [
            r#"{"type":"a","data":1}"#,
            r#"{"type":"a","data":1,"id":null}"#,
            r#"{"type":"a","data":1,"id":""}"#,
            r#"{"type":"a","data":1,"id":0}"#,
            r#"{"event":"a","data":1,"delivery_id":""}"#,
            r#"{"event":"a","data":1,"delivery_id":0}"#,
            "not JSON",
            "",
        ] {
            assert_eq!(key(body, None, None), format!("b{}", digest(body)));
        }
    }

    /// Attack: a tenant chooses an id that imitates another tenant's key.
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
    fn a_key_has_at_most_272_bytes() {
        let long = "é".repeat(5000);
        let edge = "x".repeat(64);
        for name in ["id", "delivery_id"] {
            for part in [&long, &edge] {
                let body = format!(r#"{{"type":"a","data":1,"{name}":"{part}"}}"#);
                assert!(key(&body, Some(part), Some(part)).len() <= 272);
            }
        }
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
