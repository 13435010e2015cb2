//! Creates the hostile requests.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    vec,
};

use axum_core::{BoxError, body::Body};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use http_body::Frame;
use serde_json::Value;

use crate::{
    event::{EventKind, Sender},
    secret::Secret,
    signature::SIGNATURE_HEADER,
    testing::{SignedRequest, fresh_sample},
};

/// Creates requests to one URI, signed with one secret.
pub(super) struct RequestFactory<'a> {
    pub(super) secret: &'a Secret,
    pub(super) uri: &'a Uri,
    pub(super) max_body_size: usize,
    /// Set when a [`Frames`] body is read.
    pub(super) asked: &'a Arc<AtomicBool>,
}

impl RequestFactory<'_> {
    pub(super) fn signed(&self, body: impl Into<Bytes>) -> Request<Body> {
        self.signed_with(self.secret, body)
    }

    pub(super) fn signed_with(&self, secret: &Secret, body: impl Into<Bytes>) -> Request<Body> {
        let request = SignedRequest::new(secret).uri(self.uri.clone());
        request.body(body).build()
    }

    /// Returns a signed request with a new event and with headers modified by `change`.
    pub(super) fn with_headers(&self, change: impl FnOnce(&mut HeaderMap)) -> Request<Body> {
        let mut request = self.signed(body());
        change(request.headers_mut());
        request
    }

    /// Returns a signed request, addressed to `path`, as an attacker would replay it. If `path` is
    /// the webhook's own path, the method is GET, because a POST would be an ordinary delivery.
    pub(super) fn replayed(&self, method: Method, path: &str) -> Request<Body> {
        let is_webhook = self.uri.path() == path;
        let mut request = self.signed_for(path);
        *request.method_mut() = if is_webhook { Method::GET } else { method };
        request
    }

    /// Returns a signed request with a new event, addressed to another path.
    pub(super) fn signed_for(&self, path: &str) -> Request<Body> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path).ok();
        let mut request = self.signed(body());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request
    }

    pub(super) fn unsigned(&self) -> Request<Body> {
        self.with_headers(|headers| drop(headers.remove(SIGNATURE_HEADER)))
    }

    /// Returns a request with a made-up but well-formed signature.
    pub(super) fn guessed(&self) -> Request<Body> {
        self.resigned(|_| b"0".repeat(64))
    }

    /// Returns a request in which `change` has replaced the correct signature.
    pub(super) fn resigned(&self, change: impl FnOnce(String) -> Vec<u8>) -> Request<Body> {
        let body = body();
        let signature = change(self.secret.sign(&body).to_string());
        let mut request = self.signed(body);
        if let Ok(value) = HeaderValue::from_bytes(&signature) {
            request.headers_mut().insert(SIGNATURE_HEADER, value);
        }
        request
    }

    /// Returns a request whose body was modified by `change` after signing.
    pub(super) fn tampered(&self, change: impl FnOnce(&mut Vec<u8>)) -> Request<Body> {
        let mut body = body();
        let request = self.signed(body.clone());
        change(&mut body);
        declare(request, body.len() as u64).map(|_| Body::from(body))
    }

    /// Returns frames that together are slightly longer than the limit.
    pub(super) fn too_much(&self) -> Vec<Bytes> {
        const FRAME: Bytes = Bytes::from_static(&[b'x'; 8 * 1024]);
        vec![FRAME; self.max_body_size / FRAME.len() + 1]
    }

    pub(super) fn frames(&self, frames: Vec<Bytes>) -> Frames {
        Frames {
            left: frames.into_iter(),
            breaks: false,
            asked: self.asked.clone(),
        }
    }
}

/// Returns a new event, which is neither too old nor a duplicate.
pub(super) fn event(sender: Sender) -> Value {
    fresh_sample(EventKind::VideoProcessed, sender)
}

/// Returns a new event as the dispatcher writes it.
pub(super) fn body() -> Vec<u8> {
    Sender::Dispatcher.to_bytes(&event(Sender::Dispatcher))
}

/// Returns an event that is `len` bytes long, or the shortest possible event if that is longer.
pub(super) fn body_of(len: usize) -> Vec<u8> {
    let mut event = event(Sender::Dispatcher);
    event["data"]["title"] = "".into();
    let shortest = Sender::Dispatcher.to_bytes(&event).len();
    event["data"]["title"] = "x".repeat(len.saturating_sub(shortest)).into();
    Sender::Dispatcher.to_bytes(&event)
}

/// Declares a body length, which may differ from the actual length.
pub(super) fn declare(mut request: Request<Body>, len: u64) -> Request<Body> {
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_LENGTH, len.into());
    request
}

/// Replaces the body with one whose length is not declared.
pub(super) fn streamed(request: Request<Body>, body: Frames) -> Request<Body> {
    let mut request = request.map(|_| Body::new(body));
    request.headers_mut().remove(header::CONTENT_LENGTH);
    request
}

/// A multi-frame body without a declared length. Reading it sets `asked`.
pub(super) struct Frames {
    left: vec::IntoIter<Bytes>,
    breaks: bool,
    asked: Arc<AtomicBool>,
}

impl Frames {
    /// Makes the body end with an error, as if the sender had hung up.
    pub(super) fn breaks(mut self) -> Self {
        self.breaks = true;
        self
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.asked.store(true, Ordering::Relaxed);
        let frame = self.left.next().map(|data| Ok(Frame::data(data)));
        Poll::Ready(frame.or_else(|| self.breaks.then(|| Err("connection reset".into()))))
    }
}
