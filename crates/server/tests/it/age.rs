//! HTTP/1 and HTTP/2 connections that are idle, silent, or too old.

use std::time::Duration;

use h2::client::SendRequest;
use http::Request;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::support::{HONEST, PATIENCE, Running, SLOW, exchange, is_served, response, to_the_end};

type Bytes = std::io::Cursor<Vec<u8>>;

/// Connects over HTTP/2. The returned task ends when the server closes the connection.
async fn http2(server: &Running) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = server.connect().await;
    let (client, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn get(client: &SendRequest<Bytes>, path: &str) -> u16 {
    let request = Request::get(format!("http://localhost{path}"))
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = timeout(PATIENCE, response)
        .await
        .expect("a response in time");
    response.unwrap().status().as_u16()
}

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
    assert_eq!(get(&client, "/").await, 200);
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
    let slow = tokio::spawn(async move { get(&client, "/slow").await });
    let mut stream = server.connect().await;
    // A connection past its maximum age stays open until its next request, which may already be on
    // its way.
    tokio::time::sleep(2 * age).await;
    let last = exchange(&mut stream, HONEST).await;
    assert!(last.contains("connection: close"), "{last}");
    assert_eq!(to_the_end(&mut stream).await, "");
    server.release();
    assert_eq!(slow.await.unwrap(), 200);
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
    tokio::io::AsyncWriteExt::write_all(&mut stream, SLOW.as_bytes())
        .await
        .unwrap();
    assert_eq!(response(&mut stream).await, "");
    server.logged("reason=\"grace_over\"").await;
    server.ended().await;
}
