//! Server shutdown.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{Deaf, HONEST, PATIENCE, Running, SLOW, is_served, response, to_the_end};

#[tokio::test]
async fn requests_in_progress_are_served_and_idle_connections_closed() {
    let mut server = Running::start(|server| server).await;
    let mut idle = server.connect().await;
    assert!(is_served(&mut idle).await);
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    // Both requests are sent at once, so the second is already in progress when the first has been
    // served.
    let requests = format!("{HONEST}{SLOW}");
    slow.write_all(requests.as_bytes()).await.unwrap();
    assert!(response(&mut slow).await.starts_with("HTTP/1.1 200"));
    server.stop();
    assert_eq!(to_the_end(&mut idle).await, "");
    assert_eq!(to_the_end(&mut silent).await, "");
    let refused = async {
        while TcpStream::connect(server.addr).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("no new connections");
    server.release();
    let response = to_the_end(&mut slow).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let log = server.ended().await;
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_time_is_aborted() {
    for grace in [Duration::ZERO, Duration::from_millis(300)] {
        let mut server = Running::start(|server| server.grace(grace)).await;
        let mut slow = server.connect().await;
        let requests = format!("{HONEST}{SLOW}");
        slow.write_all(requests.as_bytes()).await.unwrap();
        assert!(response(&mut slow).await.starts_with("HTTP/1.1 200"));
        let start = Instant::now();
        server.stop();
        assert_eq!(to_the_end(&mut slow).await, "");
        assert!(start.elapsed() >= grace);
        let log = server.ended().await;
        assert!(log.contains("reason=\"grace_over\" count=1"), "{log}");
    }
}

/// Attack: send half of a request head, so that the server waits for the rest and cannot stop.
#[tokio::test]
async fn half_a_head_delays_the_shutdown_no_longer_than_its_timeout() {
    let timeout = Duration::from_secs(2);
    let mut server = Running::start(|server| server.head_timeout(timeout)).await;
    let mut half = server.connect().await;
    assert!(is_served(&mut half).await);
    half.write_all(b"POST / HTTP/1.1\r\nHo").await.unwrap();
    // The test cannot observe when the server has read the half head, so it waits.
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    server.stop();
    assert_eq!(to_the_end(&mut half).await, "");
    server.ended().await;
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "it waits for the grace time"
    );
}

/// Attack: ignore the frames that the server sends to shut down an HTTP/2 connection.
#[tokio::test]
async fn a_silent_http2_peer_delays_the_shutdown_no_longer_than_a_head() {
    let timeout = Duration::from_secs(1);
    let mut server = Running::start(|server| server.head_timeout(timeout)).await;
    let silent = Deaf::connect(server.connect().await).await;
    let start = Instant::now();
    server.stop();
    server.ended().await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it waits for a ping or the grace time"
    );
    drop(silent);
}
