use std::sync::{Arc, atomic::AtomicBool};

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use serde_json::Value;

use super::body::Frames;
use crate::{
    event::EventKind,
    secret::Secret,
    signature::SIGNATURE_HEADER,
    testing::{Sender, SignedRequest, fresh_sample},
};

/// What the cases are made of.
pub(super) struct RequestFactory<'a> {
    pub(super) secret: &'a Secret,
    pub(super) uri: &'a Uri,
    pub(super) max_body_size: usize,
    pub(super) asked: &'a Arc<AtomicBool>,
}

impl RequestFactory<'_> {
    pub(super) fn signed(&self, body: impl Into<Bytes>) -> Request<Body> {
        self.signed_with(self.secret, body)
    }

    pub(super) fn signed_with(&self, secret: &Secret, body: impl Into<Bytes>) -> Request<Body> {
        SignedRequest::new(secret)
            .uri(self.uri.clone())
            .body(body)
            .build()
    }

    /// An event without a signature.
    pub(super) fn unsigned(&self) -> Request<Body> {
        let mut request = self.signed(body());
        request.headers_mut().remove(SIGNATURE_HEADER);
        request
    }

    /// An event whose right signature was made into this.
    pub(super) fn resigned(&self, change: impl FnOnce(String) -> Vec<u8>) -> Request<Body> {
        let body = body();
        let signature = change(self.secret.sign(&body).to_string());
        let mut request = self.signed(body);
        if let Ok(value) = HeaderValue::from_bytes(&signature) {
            request.headers_mut().insert(SIGNATURE_HEADER, value);
        }
        request
    }

    /// An event whose bytes were made into these after it was signed.
    pub(super) fn tampered(&self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Request<Body> {
        let body = body();
        let request = self.signed(body.clone());
        let body = change(body);
        let mut request = request.map(|_| Body::empty());
        declare(&mut request, body.len() as u64);
        request.map(|_| Body::from(body))
    }

    /// More than the limit, by a little.
    pub(super) fn too_much(&self) -> Vec<Bytes> {
        const FRAME: Bytes = Bytes::from_static(&[b'x'; 8 * 1024]);
        vec![FRAME; self.max_body_size / FRAME.len() + 1]
    }

    pub(super) fn frames(&self, frames: Vec<Bytes>) -> Frames {
        Frames::new(frames, self.asked)
    }
}

/// A new event, so that it is neither too old nor a duplicate.
pub(super) fn event(sender: Sender) -> Value {
    fresh_sample(EventKind::VideoProcessed, sender)
}

/// The same as the dispatcher writes it.
pub(super) fn body() -> Vec<u8> {
    Sender::Dispatcher.to_bytes(&event(Sender::Dispatcher))
}

/// One of that length, or of the shortest that an event has.
pub(super) fn body_of(len: usize) -> Vec<u8> {
    let mut event = event(Sender::Dispatcher);
    event["data"]["title"] = "".into();
    let shortest = Sender::Dispatcher.to_bytes(&event).len();
    event["data"]["title"] = "x".repeat(len.saturating_sub(shortest)).into();
    Sender::Dispatcher.to_bytes(&event)
}

/// An event with a well-formed signature that nobody made.
pub(super) fn guessed(factory: &RequestFactory<'_>) -> Request<Body> {
    factory.resigned(|_| b"0".repeat(64))
}

/// Declares a length, whatever the body's is.
pub(super) fn declare(request: &mut Request<Body>, len: u64) {
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_LENGTH, len.into());
}

/// The request with that body, whose length is not declared.
pub(super) fn streamed(request: Request<Body>, body: Frames) -> Request<Body> {
    let mut request = request.map(|_| Body::new(body));
    request.headers_mut().remove(header::CONTENT_LENGTH);
    request
}
