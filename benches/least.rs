//! The smallest possible layer that verifies requests using the `axum` and `http` types. It has no
//! limits, no timeout, no second secret and no rejection types. Any time that it takes in addition
//! to the hashing is the cost of those types.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use sha2::Sha256;
use soundhash_webhook::SIGNATURE_HEADER;
use subtle::ConstantTimeEq;
use tower::{Service, service_fn};

/// The value that a handler would receive.
#[derive(Clone)]
struct Verified {
    _body: Bytes,
    _signature: [u8; 32],
}

/// Returns a service that verifies requests whose body is a single frame.
pub(crate) fn least<S>(
    secret: &str,
    inner: S,
) -> impl Service<Request, Response = Response, Error = S::Error, Future: Send> + Clone
where
    S: Service<Request, Response = Response, Future: Send> + Clone + Send,
{
    let keyed: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("a key");
    let keyed = Arc::new(keyed);
    service_fn(move |request: Request| {
        let (mut inner, keyed) = (inner.clone(), keyed.clone());
        async move {
            let (head, mut body) = request.into_parts();
            let mut signature = [0; 32];
            let digits = &head.headers[SIGNATURE_HEADER];
            base16ct::mixed::decode(digits, &mut signature).expect("digits");
            let frame = body.frame().await.expect("a frame").expect("a body");
            let bytes = frame.into_data().expect("data");
            assert!(body.frame().await.is_none(), "one frame");
            let mut mac = Hmac::clone(&keyed);
            mac.update(&bytes);
            let tag: [u8; 32] = mac.finalize().into_bytes().into();
            assert!(bool::from(tag.ct_eq(&signature)), "authentic");
            let mut request = Request::from_parts(head, Body::from(bytes.clone()));
            request.extensions_mut().insert(Verified {
                _body: bytes,
                _signature: signature,
            });
            inner.call(request).await
        }
    })
}
