//! The verified request that the verification layer passes on to inner services.

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    event::{
        Event, EventError, EventErrorKind, EventKind, Id, Timestamp, envelope::Envelope,
        python::to_strict,
    },
    schema,
    signature::Signature,
    telemetry,
};

/// A delivery with a verified signature, along with the exact bytes that SoundHash signed.
///
/// `Delivery` is an extractor that a handler can take alongside an [`Event`] or instead of one.
/// Only [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer) creates a `Delivery`, so having one
/// proves that the request was verified. If no layer protects the handler, the extractor responds
/// with 500.
///
/// Extractors and inner layers find the delivery in the request extensions, and an outer layer gets
/// it through a [`DeliverySlot`]. Clones are cheap and share the parsed event.
///
/// ```
/// use axum::http::StatusCode;
/// use soundhash_webhook::{Delivery, Event, EventData, EventRejection};
///
/// /// Archives what the application does not understand yet, so that no authentic delivery is lost.
/// async fn receive(event: Result<Event, EventRejection>, delivery: Delivery) -> StatusCode {
///     match event.map(|event| event.data) {
///         Ok(EventData::Unrecognized(data)) => archive(delivery.body(), &data.event_type),
///         Ok(data) => println!("{:?}", data.event_type()),
///         Err(rejection) => archive(delivery.body(), &rejection.to_string()),
///     }
///     StatusCode::OK
/// }
/// # fn archive(_: &[u8], _: &str) {}
/// # let _: axum::routing::MethodRouter = axum::routing::post(receive);
/// ```
#[derive(Clone)]
pub struct Delivery(Arc<Verified>);

struct Verified {
    body: Bytes,
    signature: Signature,
    matched_secret: usize,
    secret_label: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
    /// Parsed on first use. The box keeps a `Delivery` small until then.
    envelope: OnceLock<Box<Result<Envelope, EventError>>>,
    event: OnceLock<Box<Result<Event, EventError>>>,
    /// The repaired body, or `None` if the body is strict JSON.
    strict: OnceLock<Option<Arc<str>>>,
    /// `true` if the handler runs in a separate task, which keeps running if the request is
    /// dropped. The idempotency layer sets the flag, and the code that logs canceled handlers reads
    /// it. The flag cannot be a response extension, because a dropped request never gets a
    /// response.
    detached: OnceLock<Arc<AtomicBool>>,
}

impl Delivery {
    #[inline]
    pub(crate) fn new(
        body: Bytes,
        signature: Signature,
        matched_secret: usize,
        secret_label: Option<Arc<str>>,
        endpoint: Option<Arc<str>>,
    ) -> Self {
        Self(Arc::new(Verified {
            body,
            signature,
            matched_secret,
            secret_label,
            endpoint,
            envelope: OnceLock::new(),
            event: OnceLock::new(),
            strict: OnceLock::new(),
            detached: OnceLock::new(),
        }))
    }

    /// Returns the body, byte for byte as it was signed.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// Returns the verified signature, which is the same in every retry.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.0.signature
    }

    /// Returns the index of the secret that signed the delivery: 0 for the current secret, 1 for
    /// the first previous secret, and so on.
    ///
    /// During a rotation, the index tells you when SoundHash has stopped using the previous secret.
    /// A rotation changes the index of a secret, but not its [`secret_label`](Self::secret_label).
    #[must_use]
    pub fn matched_secret(&self) -> usize {
        self.0.matched_secret
    }

    /// Returns the label of the secret that signed the delivery, if one was set with
    /// [`Secret::label`](crate::Secret::label).
    #[must_use]
    pub fn secret_label(&self) -> Option<&str> {
        self.0.secret_label.as_deref()
    }

    /// Returns the endpoint whose secret signed the delivery, if the
    /// [`SecretProvider`](crate::SecretProvider) named it with
    /// [`Secrets::endpoint`](crate::Secrets::endpoint).
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// Parses the body as a custom type.
    ///
    /// A body that is not strict JSON is repaired first, as [`Event::is_repaired`] describes.
    ///
    /// # A `Value` can overflow the stack
    ///
    /// If any crate in your program enables `serde_json`'s `raw_value` feature, as axum does with
    /// its default `json` feature, then parsing 200 kB of JSON as a [`serde_json::Value`] can
    /// overflow the thread's stack. This affects not only this method but the whole program,
    /// including axum's `Json<Value>`. Prefer a struct for `T`. [`event`](Self::event) is not
    /// affected.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not JSON or does not fit `T`.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EventError> {
        let error = match serde_json::from_slice(&self.0.body) {
            Ok(value) => return Ok(value),
            Err(error) => EventError::from_json(&error),
        };
        if error.kind() != EventErrorKind::Syntax {
            return Err(error);
        }
        let strict = self.0.strict.get_or_init(|| {
            let text = std::str::from_utf8(&self.0.body).ok()?;
            to_strict(text).map(Into::into)
        });
        match strict {
            None => Err(error),
            Some(strict) => serde_json::from_str(strict).map_err(|error| {
                EventError::from_json(&error).before_repair(&self.0.body, strict.as_bytes())
            }),
        }
    }

    /// Returns the body as an [`Event`].
    ///
    /// The body is parsed on the first call. Later calls return the same event, even on clones. The
    /// first call also logs a body that is not an event, and an event that is
    /// [`Unrecognized`](crate::EventData::Unrecognized).
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not a JSON object with an event type and a payload.
    pub fn event(&self) -> Result<&Event, &EventError> {
        Result::as_ref(self.0.event.get_or_init(|| Box::new(self.parse())))
    }

    /// Returns the event's type as the sender wrote it, or `None` if the body is not an event.
    ///
    /// This does not parse the payload, so it is cheaper than [`event`](Self::event).
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        let envelope = self.envelope().as_ref().ok()?;
        Some(envelope.event_type.as_str())
    }

    /// Returns the time at which SoundHash created the event, or `None` if the body does not state
    /// it.
    ///
    /// This does not parse the payload, so it is cheaper than [`event`](Self::event).
    #[must_use]
    pub fn created_at(&self) -> Option<Timestamp> {
        self.envelope().as_ref().ok()?.created_at
    }

    fn parse(&self) -> Result<Event, EventError> {
        let event = match self.0.envelope.get().map(AsRef::as_ref) {
            Some(Ok(envelope)) => Event::of(envelope.clone(), &self.0.body),
            Some(Err(error)) => Err(error.clone()),
            None => Event::from_slice(&self.0.body),
        };
        event
            .inspect(schema::record_changes)
            .inspect_err(telemetry::undecodable)
    }

    /// Returns the flag that is set if the handler runs in a separate task, which keeps running if
    /// the request is dropped.
    pub(crate) fn detached(&self) -> &Arc<AtomicBool> {
        self.0.detached.get_or_init(Arc::default)
    }

    /// Returns the event's id, its type as the sender wrote it, and the type's name if the type is
    /// known. This parses the envelope, which the [`Event`] extractor then reuses.
    pub(crate) fn id_and_type(&self) -> (Option<&Id>, Option<&str>, Option<&'static str>) {
        let Ok(envelope) = self.envelope() else {
            return (None, None, None);
        };
        let event_type = &envelope.event_type;
        let known_type = event_type.known().map(EventKind::as_str);
        (envelope.id.as_ref(), Some(event_type.as_str()), known_type)
    }

    pub(crate) fn envelope(&self) -> &Result<Envelope, EventError> {
        self.0
            .envelope
            .get_or_init(|| Box::new(Envelope::read(&self.0.body, None)))
    }
}

/// Hands the [`Delivery`] of a verified request to a layer outside
/// [`SoundHashWebhookLayer`](crate::SoundHashWebhookLayer), for example for an audit log or
/// metrics.
///
/// Put a clone of a new slot into the extensions of each request. The layer fills the slot before it
/// calls the handler, so the delivery is available even if the handler fails, panics, or is
/// canceled. If the request is rejected, the slot stays empty.
///
/// # What an outer layer can see
///
/// The response extensions show which part of the application responded: the verification layer
/// adds a [`Rejection`](crate::Rejection), the idempotency layer adds an
/// [`Outcome`](crate::idempotency::Outcome), and a handler adds neither. The delivery itself is in
/// a slot rather than in the response, because a dropped request never gets a response.
///
/// ```
/// use axum::{extract::Request, middleware::Next, response::Response};
/// use soundhash_webhook::DeliverySlot;
///
/// async fn audit(mut request: Request, next: Next) -> Response {
///     // Another layer may have inserted a slot, too.
///     let slot = request.extensions_mut().get_or_insert_default::<DeliverySlot>().clone();
///     let response = next.run(request).await;
///     if let Some(delivery) = slot.get() {
///         println!("{} bytes: {}", delivery.body().len(), response.status());
///     }
///     response
/// }
/// # let _ = axum::middleware::from_fn::<_, (Request,)>(audit);
/// ```
#[derive(Clone, Default)]
pub struct DeliverySlot(Arc<OnceLock<Delivery>>);

impl DeliverySlot {
    /// Returns the delivery, or `None` if the request was not verified.
    #[must_use]
    pub fn get(&self) -> Option<&Delivery> {
        self.0.get()
    }

    /// Fills the slot, unless an outer verification layer has already filled it.
    pub(crate) fn fill(&self, delivery: &Delivery) {
        self.0.get_or_init(|| delivery.clone());
    }
}

impl fmt::Debug for DeliverySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeliverySlot").field(&self.get()).finish()
    }
}

/// Shows the length of the body instead of its bytes.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("body_len", &self.0.body.len())
            .field("matched_secret", &self.0.matched_secret)
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}
