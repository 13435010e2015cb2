//! Remembers the events of this session, so that a repeated one is a duplicate.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderValue, Response};
use soundhash_webhook::{Delivery, idempotency::Key};

/// The maximum number of events to remember.
const MOST: usize = 100_000;

#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<HashSet<Key>>>);

impl Seen {
    /// Marks the response to an event that was accepted before, as an idempotency layer does. The
    /// inspector's verdict is then `duplicate`.
    pub(super) fn mark<B>(&self, delivery: &Delivery, response: &mut Response<B>) {
        if !response.status().is_success() {
            return;
        }
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST {
            keys.clear();
        }
        if !keys.insert(Key::from(delivery)) {
            let headers = response.headers_mut();
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
    }
}
