//! HTTP/2 without TLS: clients that reset streams, open too many streams, or never stop writing.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, StatusCode, Version};
use soundhash_webhook::SIGNATURE_HEADER;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use soundhash_webhook_tests::{
    process::Receiver,
    requests::sign,
    wire::{FORGED, PATIENCE, connect, deliver, event, unharmed},
};

const MIB: usize = 1024 * 1024;

/// Returns a connection that a task drives until it is closed.
async fn client(receiver: &Receiver) -> SendRequest<Bytes> {
    let stream: TcpStream = connect(receiver).await;
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    // The connection ends with an error if the receiver closes it.
    tokio::spawn(connection);
    client
}

/// Opens a stream whose body is sent later.
async fn open(
    client: SendRequest<Bytes>,
    signature: Option<&str>,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let mut request = Request::post("http://localhost/webhooks/soundhash").version(Version::HTTP_2);
    if let Some(signature) = signature {
        request = request.header(SIGNATURE_HEADER, signature);
    }
    let request = request.body(()).expect("a request");
    client.ready().await?.send_request(request, false)
}

async fn status(response: ResponseFuture) -> StatusCode {
    let response = timeout(PATIENCE, response)
        .await
        .expect("a response in time");
    response.expect("a response").status()
}

async fn deliver_by(client: &SendRequest<Bytes>, id: &str) -> StatusCode {
    let body = event(id);
    let (response, mut sender) = open(client.clone(), Some(&sign(&body))).await.unwrap();
    sender.send_data(body.into(), true).unwrap();
    status(response).await
}

/// Attack: reset a thousand streams mid-body. The connection and its deliveries keep working.
#[tokio::test]
async fn streams_reset_in_mid_body_leave_nothing_behind() {
    let receiver = Receiver::start(&[]);
    let client = client(&receiver).await;
    assert_eq!(deliver_by(&client, "before").await, 200);
    let before = receiver.resident();
    for _ in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let (response, mut sender) = open(client.clone(), Some(FORGED)).await.unwrap();
            sender.send_data(vec![b'x'; 1_000].into(), false).unwrap();
            streams.push((response, sender));
        }
        // A response on the same connection shows that the server has seen the streams.
        assert_eq!(deliver_by(&client, "meanwhile").await, 200);
        for (_, sender) in &mut streams {
            sender.send_reset(Reason::CANCEL);
        }
    }
    assert_eq!(deliver_by(&client, "after").await, 200);
    let grown = receiver.resident().saturating_sub(before);
    assert!(grown < 20 * 1024, "grown by {grown} KiB");
    unharmed(receiver, &["before", "meanwhile", "after"]).await;
}

/// Attack: rapid reset (CVE-2023-44487), which opens streams and resets each one immediately.
#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_own_connection_at_most() {
    let receiver = Receiver::start(&[]);
    let client = client(&receiver).await;
    for _ in 0..10_000 {
        let Ok((_, mut sender)) = open(client.clone(), Some(FORGED)).await else {
            break;
        };
        sender.send_reset(Reason::CANCEL);
    }
    deliver(&receiver, "after").await;
    unharmed(receiver, &["after"]).await;
}

/// Attack: open a thousand streams at once, all of which stall mid-body. Each body is rejected when
/// it times out, and deliveries do not have to wait.
#[tokio::test]
async fn a_thousand_streams_that_stall_lock_nobody_out() {
    let receiver = Receiver::start(&[]);
    deliver(&receiver, "before").await;
    let before = receiver.resident();
    let mut stalled = Vec::new();
    // A connection allows fewer than 200 concurrent streams, so some of them have to wait.
    for _ in 0..5 {
        let client = client(&receiver).await;
        assert_eq!(deliver_by(&client, "first").await, 200);
        for _ in 0..200 {
            let (response, mut sender) = open(client.clone(), Some(FORGED)).await.unwrap();
            sender.send_data(vec![b'x'; 1_000].into(), false).unwrap();
            stalled.push((response, sender));
        }
    }
    deliver(&receiver, "by HTTP/1.1").await;
    let other = client(&receiver).await;
    assert_eq!(deliver_by(&other, "by HTTP/2").await, 200);
    for (response, _sender) in stalled {
        assert_eq!(status(response).await, 408);
    }
    let grown = receiver.peak().saturating_sub(before);
    println!("1000 stalled streams: {grown} KiB");
    assert!(grown < 40 * 1024, "grown by {grown} KiB");
    let printed = ["before", "first", "by HTTP/1.1", "by HTTP/2"];
    unharmed(receiver, &printed).await;
}

/// Returns the response to an unsigned request whose body never ends.
async fn unsigned_by(client: SendRequest<Bytes>) -> StatusCode {
    loop {
        let (response, _sender) = open(client.clone(), None).await.unwrap();
        match response.await {
            // The server refused the stream without processing it, because it had not yet released
            // an earlier one. The request can be sent again (RFC 9113 §8.7).
            Err(error) if error.reason() == Some(Reason::REFUSED_STREAM) => {
                sleep(Duration::from_millis(5)).await;
            }
            response => return response.expect("a response").status(),
        }
    }
}

/// Attack: send a thousand unsigned requests at once on one connection. Each gets a response, and
/// so does the delivery after them.
#[tokio::test]
async fn a_thousand_unsigned_streams_all_get_a_response() {
    let receiver = Receiver::start(&[]);
    let client = client(&receiver).await;
    // The first response ensures that the client knows the limit on concurrent streams. Streams
    // beyond the limit wait.
    assert_eq!(deliver_by(&client, "first").await, 200);
    let mut responses = Vec::new();
    for _ in 0..1_000 {
        let client = client.clone();
        responses.push(tokio::spawn(timeout(PATIENCE, unsigned_by(client))));
    }
    for response in responses {
        let response = response.await.unwrap();
        assert_eq!(response.expect("a response in time"), 401);
    }
    assert_eq!(deliver_by(&client, "behind them").await, 200);
    unharmed(receiver, &["first", "behind them"]).await;
}

/// An honest sender that is still writing can read the response, and the connection stays usable.
#[tokio::test]
async fn a_rejected_sender_reads_the_response() {
    let receiver = Receiver::start(&[]);
    let client = client(&receiver).await;
    for (signature, expected) in [(None, 401), (Some(FORGED), 413)].repeat(10) {
        let (response, mut sender) = open(client.clone(), signature).await.unwrap();
        let writing = tokio::spawn(async move {
            for _ in 0..4 * MIB / 16_384 {
                sender.reserve_capacity(16_384);
                // Writes until the stream is reset.
                let Some(Ok(_)) = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await else {
                    return;
                };
                if sender.send_data(vec![b'x'; 16_384].into(), false).is_err() {
                    return;
                }
            }
        });
        assert_eq!(status(response).await, expected);
        let ended = timeout(Duration::from_secs(20), writing).await;
        ended.expect("it is stopped").unwrap();
    }
    assert_eq!(deliver_by(&client, "after").await, 200);
    unharmed(receiver, &["after"]).await;
}
