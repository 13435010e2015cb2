//! Attacks on a receiver over sockets.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    process::{Receiver, exchange, status},
    requests::signed_bytes,
};

/// A well-formed signature that does not match any body.
pub const FORGED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How long a step may take on a busy machine, including the receiver's own timeouts.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the head of a request without a signature.
pub fn unsigned(framing: &str) -> String {
    format!("POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")
}

/// Returns the head of a chunked request with the [`FORGED`] signature.
pub fn forged_chunks() -> String {
    unsigned(&format!(
        "X-Webhook-Signature: {FORGED}\r\nTransfer-Encoding: chunked"
    ))
}

/// Returns an authentic event with this id.
pub fn event(id: &str) -> Vec<u8> {
    let event = serde_json::json!({
        "event": "video.processed",
        "delivery_id": id,
        "data": {"title": "honest"},
    });
    event.to_string().into_bytes()
}

pub async fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect(&receiver.addr).await;
    stream.expect("a connection")
}

/// Reads until the connection is closed or reset, and returns the text that arrived.
pub async fn to_the_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    // After an error, `text` contains the bytes that arrived before it.
    let read = stream.read_to_end(&mut text);
    let _ = timeout(PATIENCE, read).await.expect("an end");
    String::from_utf8(text).expect("UTF-8")
}

/// Returns the status of every response in the text, including any `100 Continue`.
pub fn statuses(text: &str) -> Vec<&str> {
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.map(|head| &head[..3]).collect()
}

/// Sends a delivery on a new connection, and checks that it is accepted.
pub async fn deliver(receiver: &Receiver, id: &str) {
    let head = exchange(&receiver.addr, &signed_bytes(&event(id))).await;
    assert_eq!(status(&head), "200", "{id}");
}

/// Writes until the connection fails, and returns the number of bytes written.
pub async fn flood(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(written @ 1..) = stream.write(bytes).await {
        taken += written;
    }
    taken
}

/// Checks that the receiver is still serving, and has printed exactly these events.
pub async fn unharmed(receiver: Receiver, ids: &[&str]) {
    deliver(&receiver, "last").await;
    receiver.signal("KILL");
    let (_, lines, log) = receiver.ended();
    let printed: Vec<String> = lines.iter().map(|line| id(line)).collect();
    assert_eq!(printed, [ids, &["last"]].concat());
    assert!(!log.contains("panicked"), "{log}");
}

fn id(line: &str) -> String {
    let event: Value = serde_json::from_str(line).expect("JSON");
    event["id"].as_str().expect("an id").to_owned()
}
