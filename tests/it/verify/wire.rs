//! The receiver that is besieged, and the sockets that do it.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    process::{Receiver, exchange, status},
    support::signed_bytes,
};

/// A well-formed signature that nobody made.
pub(super) const FORGED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How long anything may take, the waiting of the receiver included, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The head of a request without a signature.
pub(super) fn unsigned(framing: &str) -> String {
    format!("POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")
}

/// The head of a chunked request, with the signature that nobody made.
pub(super) fn forged_chunks() -> String {
    unsigned(&format!(
        "X-Webhook-Signature: {FORGED}\r\nTransfer-Encoding: chunked"
    ))
}

/// An authentic event with that id.
pub(super) fn event(id: &str) -> Vec<u8> {
    let event = serde_json::json!({
        "event": "video.processed",
        "delivery_id": id,
        "data": {"title": "honest"},
    });
    event.to_string().into_bytes()
}

pub(super) async fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect(&receiver.addr).await;
    stream.expect("a connection")
}

/// All that comes until the connection is closed, or reset.
pub(super) async fn to_the_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    // What came before an error is there all the same.
    let read = stream.read_to_end(&mut text);
    let _ = timeout(PATIENCE, read).await.expect("an end");
    String::from_utf8(text).expect("UTF-8")
}

/// The status of every answer in a text, the 100 included.
pub(super) fn statuses(text: &str) -> Vec<&str> {
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.map(|head| &head[..3]).collect()
}

/// A delivery that must be served, on a connection of its own.
pub(super) async fn deliver(receiver: &Receiver, id: &str) {
    let head = exchange(&receiver.addr, &signed_bytes(&event(id))).await;
    assert_eq!(status(&head), "200", "{id}");
}

/// Writes until it cannot: how many bytes were taken.
pub(super) async fn flood(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(written @ 1..) = stream.write(bytes).await {
        taken += written;
    }
    taken
}

/// The end of the siege: it serves as before, and has printed these events and no others.
pub(super) async fn unharmed(receiver: Receiver, ids: &[&str]) {
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
