//! HTTP/1 and HTTP/2 connections that are idle, silent, or too old.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    HONEST, PATIENCE, Running, SLOW, exchange, http2, http2_get, is_served, response, to_the_end,
};

/// The client replies to pings, but never sends a request.
#[tokio::test]
async fn an_http2_connection_without_requests_is_closed() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.head_timeout(second)).await;
    let (_client, connection) = http2(&server).await;
    timeout(PATIENCE, connection)
        .await
        .expect("an end")
        .unwrap()
        .ok();
    let mut silent = server.connect().await;
    assert_eq!(to_the_end(&mut silent).await, "");
    server.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.idle_timeout(second)).await;
    let (client, connection) = http2(&server).await;
    assert_eq!(http2_get(&client, "/").await.unwrap().status(), 200);
    let ended = timeout(PATIENCE, connection)
        .await
        .expect("an end")
        .unwrap();
    ended.expect("the server says goodbye");
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    assert_eq!(to_the_end(&mut stream).await, "");
    let log = server.ended().await;
    assert!(!log.contains("WARN"), "{log}");
}

/// Attack: keep a connection open forever. The server closes it at its maximum age, but still
/// serves a request in progress.
#[tokio::test]
async fn a_connection_that_is_too_old_is_closed_after_its_requests() {
    let age = Duration::from_secs(1);
    let server = Running::start(|server| server.max_age(age)).await;
    let start = Instant::now();
    let (client, connection) = http2(&server).await;
    let slow = tokio::spawn(async move { http2_get(&client, "/slow").await });
    let mut stream = server.connect().await;
    // A connection past its maximum age stays open until its next request, which may already be on
    // its way.
    sleep(2 * age).await;
    let last = exchange(&mut stream, HONEST).await;
    assert!(last.contains("connection: close"), "{last}");
    assert_eq!(to_the_end(&mut stream).await, "");
    server.release();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    let ended = timeout(PATIENCE, connection)
        .await
        .expect("an end")
        .unwrap();
    ended.expect("a graceful end");
    assert!(start.elapsed() >= age);
    server.ended().await;
}

#[tokio::test]
async fn a_request_that_outlasts_the_age_and_the_grace_time_is_aborted() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.max_age(second).grace(second)).await;
    let mut stream = server.connect().await;
    assert!(
        exchange(&mut stream, HONEST)
            .await
            .starts_with("HTTP/1.1 200")
    );
    stream.write_all(SLOW.as_bytes()).await.unwrap();
    assert_eq!(response(&mut stream).await, "");
    server.logged("reason=\"grace_over\"").await;
    server.ended().await;
}

/// Attack: keep a connection open forever by sending a request body one byte at a time.
#[tokio::test]
async fn a_body_that_arrives_forever_does_not_outlast_the_age_and_the_grace_time() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.max_age(second).grace(second)).await;
    let mut stream = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let closed = timeout(PATIENCE, async {
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    closed.await.expect("the server closes the connection");
    server.ended().await;
}

#[tokio::test]
async fn a_request_whose_service_panics_does_not_keep_its_connection() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.idle_timeout(second)).await;
    let (client, connection) = http2(&server).await;
    http2_get(&client, "/panic").await.unwrap_err();
    let ended = timeout(PATIENCE, connection).await;
    ended.expect("the connection is idle").unwrap().unwrap();
    server.ended().await;
}

#[tokio::test]
async fn the_longest_times_are_accepted() {
    let mut server = Running::start(|server| {
        let server = server
            .head_timeout(Duration::MAX)
            .idle_timeout(Duration::MAX);
        server.max_age(Duration::MAX).grace(Duration::MAX)
    })
    .await;
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    let requests = format!("{HONEST}{SLOW}");
    stream.write_all(requests.as_bytes()).await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 200"));
    server.stop();
    server.logged("stopping").await;
    server.release();
    assert!(to_the_end(&mut stream).await.starts_with("HTTP/1.1 200"));
    server.ended().await;
}
