use std::fmt;

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use serde_json::Value;

use super::{Envelope, fresh_sample, sample};
use crate::{event::EventKind, secret::Secret, signature::SIGNATURE_HEADER};

/// Builds a request as SoundHash sends it, signed with a secret of yours.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{
///     Event, EventKind, SoundHashWebhookLayer,
///     testing::{Envelope, SignedRequest},
/// };
/// use tower::ServiceExt;
///
/// async fn receive(event: Event) -> StatusCode {
///     assert_eq!(event.kind(), Some(EventKind::MatchFound));
///     StatusCode::OK
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(receive))
///     .layer(SoundHashWebhookLayer::new("whsec_test"));
///
/// let request = SignedRequest::new("whsec_test")
///     .sample(EventKind::MatchFound, Envelope::Dispatcher)
///     .build();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.status(), StatusCode::OK);
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignedRequest {
    secret: Secret,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl SignedRequest {
    /// A `POST /webhooks/soundhash` with the [`sample`] of a `video.processed` event of the
    /// dispatcher, signed with `secret`.
    ///
    /// # Panics
    ///
    /// If `secret` is a string or bytes and empty.
    #[track_caller]
    pub fn new(secret: impl Into<Secret>) -> Self {
        Self {
            secret: secret.into(),
            uri: Uri::from_static("/webhooks/soundhash"),
            headers: Vec::new(),
            body: Bytes::new(),
        }
        .sample(EventKind::VideoProcessed, Envelope::Dispatcher)
    }

    /// The URI to send it to.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[track_caller]
    pub fn uri<U>(mut self, uri: U) -> Self
    where
        U: TryInto<Uri, Error: fmt::Debug>,
    {
        self.uri = uri.try_into().expect("a URI");
        self
    }

    /// Adds a header. One that the request has already, the signature included, then
    /// stands in it twice.
    ///
    /// # Panics
    ///
    /// If `name` or `value` cannot stand in a header.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: fmt::Debug>,
        V: TryInto<HeaderValue, Error: fmt::Debug>,
    {
        let name = name.try_into().expect("a header name");
        let value = value.try_into().expect("a header value");
        self.headers.push((name, value));
        self
    }

    /// The [`sample`] of `kind` as its body: always the same event, and an old one.
    pub fn sample(self, kind: EventKind, envelope: Envelope) -> Self {
        self.event(envelope, &sample(kind, envelope))
    }

    /// A [`fresh_sample`] of `kind` as its body: a new event, that no
    /// [`max_age`](crate::idempotency::IdempotencyLayer::max_age) refuses.
    ///
    /// To send the same event twice, clone the request before it is built.
    pub fn fresh_sample(self, kind: EventKind, envelope: Envelope) -> Self {
        self.event(envelope, &fresh_sample(kind, envelope))
    }

    /// `event`, a whole event as JSON, in the layout of that sender.
    pub fn event(self, envelope: Envelope, event: &Value) -> Self {
        self.body(envelope.to_bytes(event))
    }

    /// Any bytes as its body. They need not be an event.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Signs the body.
    #[must_use]
    pub fn build(self) -> Request<Body> {
        let signature = self.secret.sign(&self.body).into();
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri;
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CONTENT_LENGTH, self.body.len().into());
        headers.insert(SIGNATURE_HEADER, signature);
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        *request.body_mut() = Body::from(self.body);
        request
    }
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("uri", &self.uri)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
