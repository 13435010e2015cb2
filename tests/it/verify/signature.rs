//! Requests that the layer accepts, and signatures that it rejects.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::Value;
use soundhash_webhook::{Delivery, RejectionKind, SIGNATURE_HEADER};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use super::{check, layer};
use crate::support::{BODY, Script, Step, echo, outcome, sign, signed, text, with_signature};

/// A receiver that treats the body as text would lose an authentic delivery.
#[tokio::test]
async fn any_authentic_body_reaches_the_handler_byte_for_byte() {
    for body in [BODY, b"", &[0xff, 0xfe, 0x00, 0x80]] {
        assert_eq!(check(signed(body)).await, Ok(body.into()));
    }
    let upper_case = with_signature(sign(BODY).to_uppercase(), Body::from(BODY));
    assert_eq!(check(upper_case).await, Ok(BODY.into()));
}

#[tokio::test]
async fn the_head_is_passed_on_unchanged() {
    let inner = service_fn(|request: Request<Body>| async move {
        assert_eq!(request.uri(), "/webhooks/soundhash");
        assert_eq!(request.headers()["x-tenant"], "acme");
        assert_eq!(request.headers()[SIGNATURE_HEADER], sign(BODY));
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let mut request = signed(BODY);
    let acme = HeaderValue::from_static("acme");
    request.headers_mut().insert("x-tenant", acme);
    request.extensions_mut().insert(7u8);
    assert!(outcome(layer().layer(inner), request).await.is_ok());
}

#[tokio::test]
async fn the_delivery_is_what_was_signed() {
    let Ok(response) = echo(layer()).oneshot(signed(BODY)).await;
    let delivery = &response.extensions().get::<Delivery>().unwrap();
    assert_eq!(delivery.body(), BODY);
    assert_eq!(delivery.signature().to_string(), sign(BODY));
    assert_eq!(delivery.matched_secret(), 0);
    assert_eq!(delivery.endpoint(), None);
    let json: Value = delivery.json().unwrap();
    assert_eq!(json["data"]["title"], "Test Video");
}

#[tokio::test]
async fn a_body_in_one_frame_is_not_copied() {
    let body = Bytes::from(BODY.to_vec());
    let arrived = body.as_ptr();
    let script = Script::new([Step::Yield, Step::Data(body), Step::Trailers]);
    let received = check(with_signature(sign(BODY), script)).await.unwrap();
    assert_eq!(received.as_ptr(), arrived);
}

/// Attack: parser confusion, with characters that other vendors' parsers skip.
#[tokio::test]
async fn anything_but_64_digits_is_malformed() {
    let right = sign(BODY);
    let malformed: [Vec<u8>; 12] = [
        b"".into(),
        format!("sha256={right}").into(),
        format!("v1={right}").into(),
        format!("={right}").into(),
        format!("{right},{right}").into(),
        format!("{right}, v1").into(),
        format!(" {right}").into(),
        format!("{right}0").into(),
        right[..63].into(),
        right[..62].into(),
        format!("{}zz", &right[..62]).into(),
        [&right.as_bytes()[..62], b"\xff\xfe"].concat(),
    ];
    for signature in malformed {
        let received = check(with_signature(&signature, Body::from(BODY))).await;
        let malformed = Err(RejectionKind::MalformedSignature);
        assert_eq!(received, malformed, "{signature:?}");
    }
}

/// Attack: forgery, and tampering with any part of the body or signature.
#[tokio::test]
async fn a_signature_of_something_else_is_rejected() {
    let mut tampered = BODY.to_vec();
    tampered[10] ^= 1;
    let request = with_signature(sign(BODY), Body::from(tampered));
    assert_eq!(check(request).await, Err(RejectionKind::WrongSignature));

    let right = sign(BODY);
    for at in 0..64 {
        let mut wrong = right.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let request = with_signature(&wrong, Body::from(BODY));
        assert_eq!(check(request).await, Err(RejectionKind::WrongSignature));
    }
}

/// Attack: use the responses as an oracle. Differences between them would reveal how far a forgery
/// got.
#[tokio::test]
async fn every_401_looks_the_same() {
    let malformed = with_signature("sha256=", Body::from(BODY));
    let wrong = with_signature("0".repeat(64), Body::from(BODY));
    let mut responses = Vec::new();
    for request in [Request::new(Body::from(BODY)), malformed, wrong] {
        let Ok(response) = echo(layer()).oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let headers = response.headers().clone();
        responses.push((headers, text(response).await));
    }
    assert_eq!(responses[0], responses[1]);
    assert_eq!(responses[1], responses[2]);
    let (headers, body) = &responses[0];
    assert_eq!(body, "Invalid signature");
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    // RFC 9110 §15.5.2 requires a 401 to name the authentication scheme.
    assert!(headers.contains_key(header::WWW_AUTHENTICATE));
}
