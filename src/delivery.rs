//! A verified request: the one thing that verification hands to everyone else.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    event::{Envelope, Event, EventError, EventErrorKind, strict_text},
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
pub struct Delivery {
    body: Bytes,
    signature: Signature,
    matched_secret: usize,
    endpoint: Option<Arc<str>>,
    /// These two are kept for whoever looks at them and leaves them to others. What is cloned
    /// after that has them, too.
    envelope: OnceLock<Arc<Result<Envelope, EventError>>>,
    event: OnceLock<Arc<Result<Event, EventError>>>,
    /// The repaired body, if it has to be repaired.
    strict: OnceLock<Option<Arc<str>>>,
    told: OnceLock<()>,
}

impl Delivery {
    #[inline]
    pub(crate) fn new(
        body: Bytes,
        signature: Signature,
        matched_secret: usize,
        endpoint: Option<Arc<str>>,
    ) -> Self {
        Self {
            body,
            signature,
            matched_secret,
            endpoint,
            envelope: OnceLock::new(),
            event: OnceLock::new(),
            strict: OnceLock::new(),
            told: OnceLock::new(),
        }
    }

    /// The body, byte for byte as it was signed.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The signature that was verified. A retry carries the same one.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// Which secret signed it: 0 is the current one, 1 the first previous one and so on.
    ///
    /// During a rotation this shows when the old secret is no longer used.
    #[must_use]
    pub fn matched_secret(&self) -> usize {
        self.matched_secret
    }

    /// The endpoint whose secret signed it, where the
    /// [`SecretProvider`](crate::SecretProvider) named it with
    /// [`Secrets::endpoint`](crate::Secrets::endpoint).
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Reads the body as a type of yours.
    ///
    /// A body that is not strict JSON is read as Python's superset of it, with the replacements
    /// that [`Event::repaired`] lists.
    ///
    /// # A `Value` can overflow the stack
    ///
    /// If any crate of your program switches on the feature `raw_value` of `serde_json`, as axum
    /// does with its default feature `json`, then 200 kB of JSON can overflow the stack of a
    /// thread that reads it as a [`serde_json::Value`]. This holds for every `Value` in the
    /// program, also for axum's `Json<Value>`. Prefer a `T` with fields. [`event`](Self::event) is
    /// not affected.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not JSON, or does not fit `T`.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EventError> {
        let error = match serde_json::from_slice(&self.body) {
            Ok(value) => return Ok(value),
            Err(error) => EventError::from_json(&error),
        };
        if error.kind() != EventErrorKind::Syntax {
            return Err(error);
        }
        let strict = self
            .strict
            .get_or_init(|| strict_text(&self.body).map(Into::into));
        match strict {
            None => Err(error),
            Some(strict) => serde_json::from_str(strict).map_err(|error| {
                EventError::from_json(&error).before_repair(&self.body, strict.as_bytes())
            }),
        }
    }

    /// Reads the body as an [`Event`].
    ///
    /// At each call; what another layer or extractor kept of it is not read again.
    ///
    /// # Errors
    ///
    /// If the body is not a JSON object with an event type and a payload.
    pub fn event(&self) -> Result<Event, EventError> {
        match self.event.get() {
            Some(event) => Result::clone(event),
            None => self.read(),
        }
    }

    fn read(&self) -> Result<Event, EventError> {
        match self.envelope.get().map(AsRef::as_ref) {
            Some(Ok(envelope)) => envelope.event(&self.body),
            Some(Err(error)) => Err(error.clone()),
            None => Event::from_slice(&self.body),
        }
    }

    /// The event, for someone who looks at it only.
    pub(crate) fn event_ref(&self) -> Result<&Event, &EventError> {
        let event = self.event.get_or_init(|| Arc::new(self.read()));
        Result::as_ref(event)
    }

    /// Tells the operator that this was not understood, unless that was done before: it can be
    /// noticed in several places.
    pub(crate) fn tell_once(&self, tell: impl FnOnce()) {
        if self.told.set(()).is_ok() {
            tell();
        }
    }

    pub(crate) fn envelope(&self) -> &Result<Envelope, EventError> {
        self.envelope
            .get_or_init(|| Arc::new(Envelope::read(&self.body)))
    }
}

/// Shows the body's length, not the body.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("body_len", &self.body.len())
            .field("matched_secret", &self.matched_secret)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
