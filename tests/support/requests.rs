//! Signed requests, as values and as bytes.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use soundhash_webhook::{SIGNATURE_HEADER, Secret};

pub const SECRET: &str = "whsec_test";
pub const BODY: &[u8] = br#"{"event":"video.processed","data":{"title":"Test Video"}}"#;

/// Returns the signature of `body` under [`SECRET`].
pub fn sign(body: &[u8]) -> String {
    Secret::new(SECRET).sign(body).to_string()
}

/// Returns a correctly signed request with this body.
pub fn signed(body: impl Into<Bytes>) -> Request<Body> {
    let body = body.into();
    with_signature(sign(&body), Body::from(body))
}

pub fn with_signature<B>(signature: impl AsRef<[u8]>, body: B) -> Request<B> {
    Request::post("/webhooks/soundhash")
        .header(SIGNATURE_HEADER, signature.as_ref())
        .body(body)
        .expect("a request")
}

/// Returns the head of a request with a body of this length.
pub fn head(signature: &str, length: impl std::fmt::Display) -> String {
    format!(
        "POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\n\
         X-Webhook-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Returns a correctly signed request with this body, as bytes.
pub fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [head(&sign(body), body.len()).as_bytes(), body].concat()
}

/// Sends a body, signed with `secret`, and returns the status, or `None` if no response arrives.
pub async fn deliver(url: &str, secret: &str, body: &[u8]) -> Option<u16> {
    let request = reqwest::Client::new()
        .post(url)
        .header(SIGNATURE_HEADER, Secret::new(secret).sign(body).to_string())
        .timeout(Duration::from_secs(30))
        .body(body.to_vec());
    Some(request.send().await.ok()?.status().as_u16())
}

pub async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
}
