//! Request heads that are malformed or never end. The log has one line per kind of error, with the
//! likely cause.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, sync::oneshot, time::sleep};

use crate::support::{HONEST, Running, http2, http2_get, is_served, response, to_the_end};

/// The first bytes sent by a TLS 1.3 client.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn a_malformed_head_is_explained_once_a_minute() {
    let headers = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    let oversized = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(20_000));
    let proxied: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\nGET / HTTP/1.1\r\n\r\n";
    for (bytes, status, reason) in [
        (HELLO, "400", "tls"),
        (proxied, "400", "proxy_protocol"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
            "400",
            "proxy_protocol",
        ),
        (headers.as_bytes(), "431", "head_too_large"),
        (oversized.as_bytes(), "431", "head_too_large"),
        (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", "400", "not_http"),
        (b"\0\x1b[31m\r\n\r\n", "400", "not_http"),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnothing of HTTP/2",
            "",
            "http2_error",
        ),
    ] {
        let server = Running::start(|server| server).await;
        for _ in 0..3 {
            let mut stream = server.connect().await;
            stream.write_all(bytes).await.unwrap();
            let response = to_the_end(&mut stream).await;
            assert_eq!(
                response
                    .strip_prefix("HTTP/1.1 ")
                    .map_or("", |rest| &rest[..3]),
                status,
                "{reason}: {response:?}"
            );
        }
        let mut stream = server.connect().await;
        assert!(is_served(&mut stream).await, "{reason}");
        drop(stream);
        server
            .logged(&format!("reason=\"{reason}\" count=1 peer=127.0.0.1"))
            .await;
        let log = server.ended().await;
        // The second warning is the summary that the server logs when it stops.
        assert_eq!(log.matches("WARN").count(), 2, "{reason}: {log}");
        assert!(
            log.contains(&format!("reason=\"{reason}\" count=2")),
            "{log}"
        );
        assert!(!log.contains('\x1b'), "{log}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed_and_logged() {
    let timeout = Duration::from_millis(200);
    let server = Running::start(|server| server.head_timeout(timeout)).await;
    for begin in ["GET / HTTP/1.1\r\n", "P", "PRI * HTTP/2.0\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        assert_eq!(to_the_end(&mut stream).await, "");
    }
    server
        .logged("reason=\"head_timeout\" count=1 peer=127.0.0.1")
        .await;
    let log = server.ended().await;
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
}

/// The head timeout also applies to later requests on a connection, even though the connection may
/// stay idle for longer between requests.
#[tokio::test]
async fn a_second_head_that_never_ends_is_closed() {
    let timeout = Duration::from_secs(2);
    let server = Running::start(|server| server.head_timeout(timeout)).await;
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(is_served(&mut stream).await, "idle for longer than a head");
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(to_the_end(&mut stream).await, "");
    server.logged("reason=\"head_timeout\"").await;
    server.ended().await;
}

/// The service may not be ready yet, for example because of a concurrency limit.
#[tokio::test]
async fn a_request_that_waits_for_the_service_has_arrived() {
    let timeout = Duration::from_secs(3);
    let (open, opened) = oneshot::channel();
    let gate = async { opened.await.unwrap() };
    let server = Running::start_gated(gate, |server| server.head_timeout(timeout)).await;
    let mut first = server.connect().await;
    first.write_all(HONEST.as_bytes()).await.unwrap();
    let (client, _connection) = http2(&server).await;
    let second = tokio::spawn(async move { http2_get(&client, "/").await });
    sleep(2 * timeout).await;
    open.send(()).unwrap();
    assert!(response(&mut first).await.starts_with("HTTP/1.1 200"));
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    drop(first);
    let log = server.ended().await;
    assert!(!log.contains("WARN"), "{log}");
}

/// The service may respond before it has read the entire request body.
#[tokio::test]
async fn the_rest_of_a_body_is_not_taken_for_a_head() {
    let timeout = Duration::from_secs(2);
    let server = Running::start(|server| server.head_timeout(timeout)).await;
    for path in ["/slow", "/drain"] {
        let mut stream = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Gives the server time to read the head before the body arrives.
        sleep(timeout / 4).await;
        if path == "/slow" {
            // hyper reads the second piece when the handler drops the body.
            for piece in [b"o", b"k"] {
                stream.write_all(piece).await.unwrap();
                sleep(timeout / 4).await;
            }
            server.release();
        }
        assert!(response(&mut stream).await.starts_with("HTTP/1.1 200"));
        if path == "/drain" {
            stream.write_all(b"ok").await.unwrap();
        }
        sleep(2 * timeout).await;
        assert!(is_served(&mut stream).await, "{path}");
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(to_the_end(&mut stream).await, "");
        server.logged("reason=\"head_timeout\"").await;
    }
    server.ended().await;
}
