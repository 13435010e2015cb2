//! Tests which connection the server closes when all connection slots are taken.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{
    Deaf, HONEST, PATIENCE, Running, SLOW, exchange, http2, http2_get, is_served, response,
    to_the_end,
};

async fn served(server: &Running) -> TcpStream {
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    stream
}

#[tokio::test]
async fn the_connection_that_has_been_idle_longest_is_closed() {
    let server =
        Running::start(|server| server.max_connections(3).max_connections_per_peer(3)).await;
    let mut first = served(&server).await;
    let mut second = served(&server).await;
    let mut third = served(&server).await;
    // The second connection has now been idle the longest.
    assert!(is_served(&mut first).await);
    let mut fourth = served(&server).await;
    assert_eq!(to_the_end(&mut second).await, "");
    for stream in [&mut third, &mut fourth, &mut first] {
        assert!(is_served(stream).await);
    }
    let log = server.ended().await;
    assert_eq!(log.matches("reason=\"evicted\"").count(), 1, "{log}");
}

/// A connection with a request in progress is never closed to make room for a new connection. The
/// new one waits instead.
#[tokio::test]
async fn a_request_in_progress_keeps_its_place() {
    let server =
        Running::start(|server| server.max_connections(2).max_connections_per_peer(2)).await;
    let mut first = server.connect().await;
    first.write_all(SLOW.as_bytes()).await.unwrap();
    let mut slow = server.connect_from("127.0.0.2").await;
    slow.write_all(SLOW.as_bytes()).await.unwrap();
    let mut third = server.connect_from("127.0.0.3").await;
    third.write_all(HONEST.as_bytes()).await.unwrap();
    server.logged("reason=\"full\"").await;
    server.release();
    // The third connection is served once one of the other two has become idle and been closed.
    let got = response(&mut third).await;
    assert!(
        got.starts_with("HTTP/1.1 200"),
        "{got} {}",
        server.ended().await
    );
    server.release();
    for stream in [&mut first, &mut slow] {
        assert!(response(stream).await.starts_with("HTTP/1.1 200"));
    }
    server.ended().await;
}

/// Attack: occupy all slots with requests whose bodies never arrive.
#[tokio::test]
async fn a_body_that_is_not_sent_keeps_no_slot() {
    const HEAD: &str = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";

    let server =
        Running::start(|server| server.max_connections(2).max_connections_per_peer(2)).await;
    let mut first = server.connect().await;
    first.write_all(HEAD.as_bytes()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(server.connect_from("127.0.0.2").await)
        .await
        .unwrap();
    let second = tokio::spawn(connection);
    let request = http::Request::post("http://localhost/echo")
        .body(())
        .unwrap();
    let (waiting, mut body) = client.send_request(request, false).unwrap();
    let mut all = Vec::new();
    for peer in ["127.0.0.3", "127.0.0.4"] {
        let mut honest = server.connect_from(peer).await;
        let got = timeout(PATIENCE, exchange(&mut honest, &format!("{HEAD}ok"))).await;
        let got = got.expect("a slot in time");
        assert!(got.starts_with("HTTP/1.1 200"), "{got}");
        all.push(honest);
    }
    assert_eq!(to_the_end(&mut first).await, "");
    let ended = timeout(PATIENCE, second).await;
    let _ = ended.expect("the connection ends in time");
    assert!(waiting.await.is_err());
    let _ = body.send_data("ok".into(), true);
    let log = server.ended().await;
    assert!(log.contains("reason=\"evicted\""), "{log}");
    drop(all);
}

/// The head of a request whose body arrives in several pieces.
const LONG: &str = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40960\r\n\r\n";

/// Opens connections without a request while a request body arrives in ten pieces, and returns
/// whether the request is served.
async fn is_served_in_pieces(server: &Running) -> bool {
    let mut far = server.connect().await;
    far.write_all(LONG.as_bytes()).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..10 {
        if far.write_all(&[b'x'; 4096]).await.is_err() {
            return false;
        }
        // The server has now read the piece.
        assert!(is_served(&mut served(server).await).await);
        for _ in 0..6 {
            others.push(server.connect().await);
        }
    }
    let got = response(&mut far).await;
    got.starts_with("HTTP/1.1 200")
}

/// Attack: open connections so quickly that no body from far away arrives in full.
#[tokio::test]
async fn new_connections_do_not_evict_a_body_that_is_arriving() {
    let server =
        Running::start(|server| server.max_connections(4).max_connections_per_peer(4)).await;
    let begin = Instant::now();
    loop {
        let attempt = Instant::now();
        if is_served_in_pieces(&server).await {
            break;
        }
        // On a busy machine, a piece can arrive so late that the body has rightly been evicted.
        assert!(attempt.elapsed() > Duration::from_secs(1));
        assert!(begin.elapsed() < PATIENCE, "the machine is too busy");
    }
    server.ended().await;
}

/// Returns a connection with a request of whose body only a fifth has been sent.
async fn begun(server: &Running) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(LONG.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 8192]).await.unwrap();
    stream
}

/// Attack: keep all connections busy with bodies, so that each new one is closed at once.
#[tokio::test]
async fn bodies_that_are_arriving_leave_half_of_the_slots() {
    let server =
        Running::start(|server| server.max_connections(4).max_connections_per_peer(4)).await;
    let mut attack = Vec::new();
    for _ in 0..4 {
        attack.push(begun(&server).await);
    }
    let mut first = served(&server).await;
    let mut second = served(&server).await;
    assert!(is_served(&mut first).await);
    assert!(is_served(&mut second).await);
    server.ended().await;
}

/// Attack: send the first part of many bodies, and keep the slots.
#[tokio::test]
async fn a_body_that_stalls_is_evicted() {
    let server =
        Running::start(|server| server.max_connections(2).max_connections_per_peer(2)).await;
    let mut stalled = begun(&server).await;
    sleep(Duration::from_secs(3)).await;
    let mut others = [served(&server).await, served(&server).await];
    assert_eq!(to_the_end(&mut stalled).await, "");
    for other in &mut others {
        assert!(is_served(other).await);
    }
    server.ended().await;
}

/// While slots are free, a request body may arrive slowly, and its connection can be used for
/// further requests afterward.
#[tokio::test]
async fn a_body_that_arrives_slowly_is_served() {
    let server = Running::start(|server| server.idle_timeout(Duration::from_secs(5))).await;
    let mut slow = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..20 {
        sleep(Duration::from_millis(300)).await;
        slow.write_all(b"x").await.unwrap();
    }
    assert!(response(&mut slow).await.starts_with("HTTP/1.1 200"));
    assert!(is_served(&mut slow).await);
    server.ended().await;
}

#[tokio::test]
async fn a_peer_has_only_its_share() {
    let server =
        Running::start(|server| server.max_connections(8).max_connections_per_peer(2)).await;
    let mut first = served(&server).await;
    let mut second = served(&server).await;
    let mut other = server.connect_from("127.0.0.2").await;
    assert!(is_served(&mut other).await);
    let mut third = served(&server).await;
    assert_eq!(to_the_end(&mut first).await, "");
    assert!(is_served(&mut other).await);
    // If a peer has used up its share and none of its connections is idle, its new connection is
    // closed.
    for stream in [&mut second, &mut third] {
        stream.write_all(SLOW.as_bytes()).await.unwrap();
    }
    server.release();
    assert!(response(&mut second).await.starts_with("HTTP/1.1 200"));
    second.write_all(SLOW.as_bytes()).await.unwrap();
    server.logged("reason=\"peer_share\"").await;
    let mut fourth = server.connect().await;
    let _ = fourth.write_all(HONEST.as_bytes()).await;
    assert_eq!(to_the_end(&mut fourth).await, "");
    assert!(is_served(&mut other).await);
    server.release();
    server.release();
    assert!(response(&mut second).await.starts_with("HTTP/1.1 200"));
    assert!(response(&mut third).await.starts_with("HTTP/1.1 200"));
    let log = server.ended().await;
    assert!(log.contains("peer=127.0.0.1"), "{log}");
}

/// Attack: occupy every connection slot with requests whose responses are never read.
#[tokio::test]
async fn a_response_that_is_not_read_does_not_keep_its_slot() {
    let server =
        Running::start(|server| server.max_connections(2).max_connections_per_peer(2)).await;
    let first = Deaf::connect(server.connect().await).await;
    let second = Deaf::connect(server.connect_from("127.0.0.2").await).await;
    let mut honest = server.connect_from("127.0.0.3").await;
    let is_served = timeout(PATIENCE, is_served(&mut honest)).await;
    assert!(is_served.expect("a slot in time"));
    first.closed().await;
    drop(second);
    let log = server.ended().await;
    assert!(log.contains("reason=\"evicted\""), "{log}");
}

#[tokio::test]
async fn a_response_that_is_not_read_ends_with_the_idle_timeout() {
    let second = Duration::from_secs(1);
    let server = Running::start(|server| server.idle_timeout(second)).await;
    let client = Deaf::connect(server.connect().await).await;
    client.closed().await;
    server.ended().await;
}

/// Reading a response may take longer than the idle timeout, whether its body has many frames or a
/// single one.
#[tokio::test]
async fn a_response_that_is_read_slowly_arrives() {
    const SIZE: usize = 16 << 20;
    let server = Running::start(|server| server.idle_timeout(Duration::from_secs(2))).await;
    for path in ["/pieces", "/piece"] {
        let mut slow = server.connect().await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        slow.write_all(request.as_bytes()).await.unwrap();
        let mut received = 0;
        while received < SIZE {
            sleep(Duration::from_millis(150)).await;
            let mut bytes = vec![0; 512 * 1024];
            let mut read = 0;
            while read < bytes.len() {
                match slow.read(&mut bytes[read..]).await.unwrap() {
                    0 => break,
                    more => read += more,
                }
            }
            assert!(read > 0, "{path} was cut after {received} bytes");
            received += read;
        }
    }
    let (client, _connection) = http2(&server).await;
    let mut body = http2_get(&client, "/piece").await.unwrap().into_body();
    let mut received = 0;
    while let Some(bytes) = body.data().await {
        let more = bytes.unwrap().len();
        body.flow_control().release_capacity(more).unwrap();
        if received / (512 * 1024) < (received + more) / (512 * 1024) {
            sleep(Duration::from_millis(150)).await;
        }
        received += more;
    }
    assert_eq!(received, SIZE);
    server.ended().await;
}

/// Opens a connection without yielding to the server. If a request is sent on an existing
/// connection right afterwards, the server therefore evicts that connection before it reads the
/// request.
fn connect_at_once(server: &Running) -> TcpStream {
    let stream = std::net::TcpStream::connect(server.addr).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

#[tokio::test]
async fn a_request_that_arrives_at_its_eviction_is_served() {
    let server = Running::start(|server| server.max_connections(1)).await;
    let stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    let (mut client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let get = || http::Request::get("http://localhost/").body(()).unwrap();
    let (response, _) = client.send_request(get(), true).unwrap();
    let exchanged = async {
        tokio::select! {
            response = response => response.unwrap().into_body().data().await,
            _ = &mut connection => panic!("the connection ended"),
        }
    };
    timeout(PATIENCE, exchanged)
        .await
        .expect("a response in time");
    let mut other = connect_at_once(&server);
    let (response, _) = client.send_request(get(), true).unwrap();
    tokio::spawn(connection);
    let response = timeout(PATIENCE, response).await;
    let response = response.expect("a response in time");
    assert_eq!(response.expect("the request is served").status(), 200);
    assert!(is_served(&mut other).await);
    server.ended().await;
}

#[tokio::test]
async fn a_connection_can_be_evicted_twice() {
    let server = Running::start(|server| {
        let server = server.max_connections(1).head_timeout(10 * PATIENCE);
        server.grace(10 * PATIENCE)
    })
    .await;
    let mut twice = served(&server).await;
    let mut second = connect_at_once(&server);
    let head = "POST /slow/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
    twice.try_write(head.as_bytes()).unwrap();
    second.write_all(SLOW.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    // Once released, the handler of the first connection waits for its peer to send the body.
    server.release();
    let mut third = server.connect().await;
    third.write_all(HONEST.as_bytes()).await.unwrap();
    to_the_end(&mut twice).await;
    server.release();
    assert!(response(&mut second).await.starts_with("HTTP/1.1 200"));
    assert!(response(&mut third).await.starts_with("HTTP/1.1 200"));
    drop((second, third));
    server.ended().await;
}
