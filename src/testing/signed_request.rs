//! Builds requests like SoundHash's, signed with a secret of your choice.

use std::{error, fmt};

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use serde_json::Value;

use super::{fresh_sample, sample};
use crate::{
    event::{EventKind, Sender},
    secret::{IntoSecret, Secret},
    signature::SIGNATURE_HEADER,
};

/// The maximum number of headers in a capture. Servers accept fewer, and a header map can hold
/// more.
const MAX_HEADERS: usize = 1_000;

/// Builds a request like SoundHash's, signed with a secret of your choice.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{
///     Event, EventKind, SoundHashWebhookLayer,
///     Sender, testing::SignedRequest,
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
///     .sample(EventKind::MatchFound, Sender::Dispatcher)
///     .build();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.status(), StatusCode::OK);
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignedRequest {
    secret: Secret,
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl SignedRequest {
    /// Creates a `POST /webhooks/soundhash` request that is signed with `secret`. Its body is the
    /// dispatcher's [`sample()`] of a `video.processed` event.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is an empty string or slice.
    #[track_caller]
    pub fn new(secret: impl IntoSecret) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            secret: secret.into_secret(),
            method: Method::POST,
            uri: Uri::from_static("/webhooks/soundhash"),
            headers: vec![(header::CONTENT_TYPE, json)],
            body: Bytes::new(),
        }
        .sample(EventKind::VideoProcessed, Sender::Dispatcher)
    }

    /// Creates a request from a recorded one, to be re-signed with `secret`.
    ///
    /// `capture` is an HTTP/1.1 request as it was sent: the head, whose lines end in CR LF or LF,
    /// an empty line, and the body. The signature and the `Content-Length` are recomputed, so you
    /// can edit the body of a capture.
    ///
    /// ```
    /// use soundhash_webhook::testing::SignedRequest;
    ///
    /// let capture = b"POST /hooks HTTP/1.1\r\nX-Webhook-ID: wh_1\r\n\r\n{\"event\": 1}";
    /// let request = SignedRequest::from_capture("whsec_test", capture)?.build();
    /// assert_eq!(request.uri(), "/hooks");
    /// assert_eq!(request.headers()["x-webhook-id"], "wh_1");
    /// # Ok::<(), soundhash_webhook::testing::CaptureError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `capture` is not an HTTP/1.1 request, or if its body is chunked.
    ///
    /// # Panics
    ///
    /// Panics if `secret` is an empty string or slice.
    #[track_caller]
    pub fn from_capture(secret: impl IntoSecret, capture: &[u8]) -> Result<Self, CaptureError> {
        let secret = secret.into_secret();
        let mut lines = Lines {
            rest: capture,
            number: 0,
        };
        let (method, uri) = request_line(lines.next()?)
            .ok_or_else(|| lines.error(CaptureErrorKind::RequestLine))?;
        let mut headers = Vec::new();
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = header_line(line)
                .filter(|_| headers.len() < MAX_HEADERS)
                .ok_or_else(|| lines.error(CaptureErrorKind::Header))?;
            if name == header::TRANSFER_ENCODING {
                return Err(lines.error(CaptureErrorKind::Chunked));
            }
            if name != SIGNATURE_HEADER && name != header::CONTENT_LENGTH {
                headers.push((name, value));
            }
        }
        Ok(Self {
            secret,
            method,
            uri,
            headers,
            body: Bytes::copy_from_slice(lines.rest),
        })
    }

    /// Sets the URI.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    #[track_caller]
    pub fn uri<U>(mut self, uri: U) -> Self
    where
        U: TryInto<Uri, Error: fmt::Debug>,
    {
        self.uri = uri.try_into().expect("a URI");
        self
    }

    /// Adds a header, even if the request already has one with this name. This lets you send two
    /// signatures, for example.
    ///
    /// # Panics
    ///
    /// Panics if `name` or `value` is not allowed in a header.
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

    /// Sets the body to the [`sample()`] for `kind` and `sender`, which is the same event every
    /// time.
    pub fn sample(self, kind: EventKind, sender: Sender) -> Self {
        self.event(sender, &sample(kind, sender))
    }

    /// Sets the body to a [`fresh_sample()`] for `kind` and `sender`. This is a new event each
    /// time, and passes any [`max_age`](crate::idempotency::IdempotencyLayer::max_age).
    ///
    /// To send the same event twice, clone the `SignedRequest` before you build it.
    pub fn fresh_sample(self, kind: EventKind, sender: Sender) -> Self {
        self.event(sender, &fresh_sample(kind, sender))
    }

    /// Sets the body to `event`, laid out as `sender` would write it. `event` includes the
    /// envelope.
    pub fn event(self, sender: Sender, event: &Value) -> Self {
        self.body(sender.to_bytes(event))
    }

    /// Sets the body to arbitrary bytes, which need not be an event.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Signs the body and returns the request.
    #[must_use]
    pub fn build(self) -> Request<Body> {
        let signature = self.secret.sign(&self.body).into();
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let headers = request.headers_mut();
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
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("headers", &self.headers)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The lines of a request's head.
struct Lines<'a> {
    rest: &'a [u8],
    /// The number of the last line returned, starting at 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], CaptureError> {
        self.number += 1;
        let end = (self.rest.iter().position(|&byte| byte == b'\n'))
            .ok_or_else(|| self.error(CaptureErrorKind::NoEnd))?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn error(&self, kind: CaptureErrorKind) -> CaptureError {
        let line = self.number;
        CaptureError { kind, line }
    }
}

fn request_line(line: &[u8]) -> Option<(Method, Uri)> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, uri, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return None;
    }
    Some((Method::from_bytes(method).ok()?, Uri::try_from(uri).ok()?))
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some((
        HeaderName::from_bytes(name).ok()?,
        HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?,
    ))
}

/// The error from [`SignedRequest::from_capture`].
///
/// The error contains the line number, but not the line's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureError {
    kind: CaptureErrorKind,
    line: usize,
}

/// The kinds of [`CaptureError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaptureErrorKind {
    /// The empty line between the headers and the body is missing.
    NoEnd,
    /// The first line is not an HTTP/1.1 request line such as `POST /hooks HTTP/1.1`.
    RequestLine,
    /// A line in the head is not a header, or there are more than 1,000 headers.
    Header,
    /// The request has a `Transfer-Encoding`, so its body is divided into chunks.
    Chunked,
}

impl CaptureError {
    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> CaptureErrorKind {
        self.kind
    }

    /// Returns the line number, starting at 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        f.write_str(match self.kind {
            CaptureErrorKind::NoEnd => "the head does not end with an empty line",
            CaptureErrorKind::RequestLine => {
                "not a request line such as `POST /webhooks/soundhash HTTP/1.1`"
            }
            CaptureErrorKind::Header => "not a header such as `Content-Type: application/json`",
            CaptureErrorKind::Chunked => {
                "chunked bodies are not supported: save the decoded body, without this header"
            }
        })
    }
}

impl error::Error for CaptureError {}
