//! A verified request: the one thing that verification hands to everyone else.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    event::{Envelope, Event, EventError},
    signature::Signature,
};

/// A delivery whose signature was verified: the body's bytes, exactly as SoundHash signed
/// them.
///
/// Take it in a handler, beside an [`Event`] or instead of one. Only
/// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) makes a `Delivery`, so holding
/// one *is* the proof; in a handler that no layer protects, the extractor answers 500.
/// Cloning it is cheap.
///
/// ```
/// use axum::http::StatusCode;
/// use soundhash_webhook::{Delivery, Event, EventRejection};
///
/// /// Keeps what cannot be understood today, so that nothing authentic is lost.
/// async fn receive(event: Result<Event, EventRejection>, delivery: Delivery) -> StatusCode {
///     match event {
///         Ok(event) => println!("{}", event.event_type()),
///         Err(rejection) => archive(delivery.body(), &rejection),
///     }
///     StatusCode::OK
/// }
/// # fn archive(_: &[u8], _: &EventRejection) {}
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
#[derive(Clone)]
pub struct Delivery(Arc<Verified>);

struct Verified {
    body: Bytes,
    signature: Signature,
    matched_secret: usize,
    endpoint: Option<Arc<str>>,
    /// Read at first use, by whoever asks first.
    envelope: OnceLock<Result<Envelope, EventError>>,
}

impl Delivery {
    pub(crate) fn new(
        body: Bytes,
        signature: Signature,
        matched_secret: usize,
        endpoint: Option<Arc<str>>,
    ) -> Self {
        Self(Arc::new(Verified {
            body,
            signature,
            matched_secret,
            endpoint,
            envelope: OnceLock::new(),
        }))
    }

    /// The body, byte for byte as it was signed.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The signature that was verified. A retry carries the same one.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.0.signature
    }

    /// Which secret signed it: 0 is the current one, 1 the first previous one and so on.
    ///
    /// During a rotation this shows when the old secret is no longer used.
    #[must_use]
    pub fn matched_secret(&self) -> usize {
        self.0.matched_secret
    }

    /// The endpoint whose secret signed it, where the
    /// [`SecretProvider`](crate::SecretProvider) named it with
    /// [`Secrets::endpoint`](crate::Secrets::endpoint).
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// Reads the body as a `T` of your own.
    ///
    /// Prefer a `T` with fields to a [`serde_json::Value`] where strangers may write parts of a
    /// payload: an object with a key that is private to `serde_json` can make it nest deeper
    /// than its limit. [`event`](Self::event) is not affected.
    ///
    /// # Errors
    ///
    /// If the body is not JSON, or does not fit `T`.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EventError> {
        serde_json::from_slice(self.body()).map_err(|error| EventError::from_json(&error))
    }

    /// Reads the body as an [`Event`].
    ///
    /// The envelope is read once per delivery; the payload at each call.
    ///
    /// # Errors
    ///
    /// If the body is not a JSON object with an event type and a payload.
    pub fn event(&self) -> Result<Event, EventError> {
        match self.envelope() {
            Ok(envelope) => envelope.event(self.body()),
            Err(error) => Err(error.clone()),
        }
    }

    pub(crate) fn envelope(&self) -> &Result<Envelope, EventError> {
        self.0.envelope.get_or_init(|| Envelope::read(&self.0.body))
    }
}

/// Shows the body's length, not the body.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("body_len", &self.0.body.len())
            .field("matched_secret", &self.0.matched_secret)
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}
