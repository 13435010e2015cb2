//! `testing::SignedRequest`: the requests that it builds, and the captures that it parses.

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use proptest::prelude::*;
use soundhash_webhook::{
    Event,
    testing::{
        CaptureErrorKind::{Chunked, Header, NoEnd, RequestLine},
        SignedRequest,
    },
};
use soundhash_webhook_tests::captures::requests as captures;

use crate::support::{SECRET, sign};

async fn body_of(request: Request<Body>) -> Vec<u8> {
    request
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .into()
}

#[tokio::test]
async fn a_capture_is_built_as_it_was_sent() {
    let captures = captures();
    assert!(captures.len() > 20);
    for capture in captures.into_values() {
        let text = str::from_utf8(&capture).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let request = SignedRequest::from_capture(SECRET, &capture).unwrap();
        let request = request.build();

        assert_eq!(request.method(), Method::POST);
        let (first, sent) = head.split_once("\r\n").unwrap();
        assert_eq!(first, format!("POST {} HTTP/1.1", request.uri()));
        // The signature is the same, because the secret is the same.
        assert_eq!(request.headers().len(), sent.lines().count());
        for line in sent.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(request.headers()[name], value);
        }
        assert_eq!(body_of(request).await, body.as_bytes());
        Event::from_slice(body.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn an_edited_capture_need_not_have_the_right_length_or_line_ends() {
    let capture = b"PUT /x?y=z HTTP/1.0\nContent-Length: 999\nX-Two:a\nX-Two: \tb \n\n\r\n\r\n{}\n";
    let request = SignedRequest::from_capture(SECRET, capture).unwrap();
    let request = request.build();
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.uri(), "/x?y=z");
    let two: Vec<_> = request.headers().get_all("x-two").iter().collect();
    assert_eq!(two, ["a", "b"]);
    assert_eq!(request.headers()[header::CONTENT_LENGTH], "7");
    let signature = sign(b"\r\n\r\n{}\n");
    assert_eq!(request.headers()["x-webhook-signature"], signature);
    assert!(!request.headers().contains_key(header::CONTENT_TYPE));
    assert_eq!(body_of(request).await, b"\r\n\r\n{}\n");
}

#[test]
fn what_is_not_a_capture_is_an_error_that_names_the_line() {
    let many = format!("POST / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(40_000));
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (capture, kind, line) in [
        ("", NoEnd, 1),
        ("POST / HTTP/1.1", NoEnd, 1),
        ("POST / HTTP/1.1\r\na: b\r\n", NoEnd, 3),
        ("POST / HTTP/1.1\r\n{}", NoEnd, 2),
        ("{\n}\n\n", RequestLine, 1),
        ("\r\n\r\n", RequestLine, 1),
        ("POST /\r\n\r\n", RequestLine, 1),
        ("POST / HTTP/2\r\n\r\n", RequestLine, 1),
        ("POST / x HTTP/1.1\r\n\r\n", RequestLine, 1),
        ("HTTP/1.1 200 OK\r\n\r\n", RequestLine, 1),
        ("POST / HTTP/1.1\r\nab\r\n\r\n", Header, 2),
        ("POST / HTTP/1.1\r\na: b\r\n: c\r\n\r\n", Header, 3),
        ("POST / HTTP/1.1\r\na: b\r\n folded\r\n\r\n", Header, 3),
        ("POST / HTTP/1.1\r\na: b\rc\r\n\r\n", Header, 2),
        (&many, Header, 1_002),
        (chunked, Chunked, 2),
    ] {
        let error = SignedRequest::from_capture(SECRET, capture.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.line()), (kind, line), "{error}");
        assert!(error.to_string().starts_with(&format!("line {line}: ")));
    }
}

proptest! {
    #[test]
    fn no_capture_panics(head in "(POST|GET|é)? ?/?[a-z ]{0,4} ?(HTTP/1.1)?\r?\n", rest: Vec<u8>) {
        let capture = [head.as_bytes(), &rest].concat();
        if let Ok(request) = SignedRequest::from_capture(SECRET, &capture) {
            prop_assert!(request.build().headers().contains_key("x-webhook-signature"));
        }
    }
}
