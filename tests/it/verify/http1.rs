//! Handwritten HTTP/1.1 requests.

use std::time::Duration;

use soundhash_webhook_tests::wire::{
    FORGED, connect, deliver, event, flood, forged_chunks, statuses, to_the_end, unharmed, unsigned,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

use crate::{
    process::{Receiver, exchange, response_head, status},
    support::{BODY, head, sign, signed_bytes},
};

const MIB: usize = 1024 * 1024;

/// A valid request that asks for the connection to be closed after its response.
const LAST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The maximum number of bytes that the sockets at both ends can buffer.
const SOCKETS: usize = 64 * MIB;

/// Attack: send heads that lie, contradict themselves or are not heads at all, and bodies that are
/// not events.
#[tokio::test]
async fn each_mistake_has_its_response() {
    let receiver = Receiver::start(&[]);
    let twice = format!("{FORGED}\r\nX-Webhook-Signature: {FORGED}");
    let right_twice = format!("{}\r\nX-Webhook-Signature: {}", sign(BODY), sign(BODY));
    let mut not_text = head("FORGED", 4).into_bytes();
    let at = not_text.windows(6).position(|w| w == b"FORGED").unwrap();
    not_text[at] = 0xff;
    // This is nested deeper than any parser's stack allows.
    let nested = [
        br#"{"event":"x","data":"#.to_vec(),
        b"[".repeat(50_000),
        b"]".repeat(50_000),
        b"}".to_vec(),
    ];
    let both = format!("X-Webhook-Signature: {FORGED}\r\nTransfer-Encoding: chunked");
    for (request, expected) in [
        (unsigned("Content-Length: 1").into_bytes(), "401"),
        (head(FORGED, "1000000000000").into_bytes(), "413"),
        (head(FORGED, "99999999999999999999999").into_bytes(), "400"),
        (head(FORGED, "-1").into_bytes(), "400"),
        (head(FORGED, "1\r\nContent-Length: 2").into_bytes(), "400"),
        (head(&twice, 0).into_bytes(), "401"),
        (head(&right_twice, BODY.len()).into_bytes(), "401"),
        ([&not_text[..], &[0xff; 4]].concat(), "401"),
        (signed_bytes(&[0xff; 300]), "400"),
        (signed_bytes(&nested.concat()), "400"),
        ((unsigned(&both) + "nonsense\r\n").into_bytes(), "400"),
    ] {
        let text = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let head = exchange(&receiver.addr, &request).await;
        assert_eq!(status(&head), expected, "{text}");
    }
    unharmed(receiver, &[]).await;
}

/// Attack: send an endless body. The sender gets a response, and the connection is closed.
#[tokio::test]
async fn chunks_without_end_are_rejected_and_the_connection_is_closed() {
    let receiver = Receiver::start(&[]);
    let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
    for (head, expected, most) in [
        (unsigned("Transfer-Encoding: chunked"), "401", 8 * MIB),
        (unsigned("Content-Length: 1000000000000"), "401", 8 * MIB),
        (head(FORGED, "1000000000000"), "413", 8 * MIB),
        (forged_chunks(), "413", 9 * MIB),
    ] {
        let (mut read, mut write) = connect(&receiver).await.into_split();
        write.write_all(head.as_bytes()).await.unwrap();
        let (text, taken) = tokio::join!(to_the_end(&mut read), flood(&mut write, &chunk));
        assert_eq!(statuses(&text), [expected], "{head}");
        assert!(taken < most + SOCKETS, "{taken} bytes: {head}");
    }
    unharmed(receiver, &[]).await;
}

/// Attack: slow loris. A trickling body is rejected when it times out, and an unsigned body is
/// rejected immediately. Neither keeps its connection open for long.
#[tokio::test]
async fn one_byte_a_second_keeps_no_connection() {
    async fn drip(receiver: &Receiver, head: String) -> (String, Duration) {
        let (mut read, mut write) = connect(receiver).await.into_split();
        write.write_all(head.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while write.write_all(b"{").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        let text = to_the_end(&mut read).await;
        dripping.abort();
        (text, start.elapsed())
    }
    let receiver = Receiver::start(&[]);
    let ((late, in_time), (at_once, drained)) = tokio::join!(
        drip(&receiver, head(FORGED, 1000)),
        drip(&receiver, unsigned("Content-Length: 1000")),
    );
    assert_eq!(statuses(&late), ["408"]);
    assert!(in_time >= Duration::from_secs(10), "{in_time:?}");
    assert_eq!(statuses(&at_once), ["401"]);
    assert!(drained >= Duration::from_secs(4), "{drained:?}");
    unharmed(receiver, &[]).await;
}

/// Attack: smuggle a delivery inside the body of a rejected request, or after it.
#[tokio::test]
async fn a_rejected_body_cannot_hide_a_request() {
    let receiver = Receiver::start(&[]);
    let inner = signed_bytes(&event("smuggled"));
    // The chunks are few and large, because the server processes them one at a time.
    let several = inner.repeat(16);
    let size = format!("{:x}\r\n", several.len());
    let chunk = [size.as_bytes(), &several, b"\r\n"].concat();
    let large = inner.repeat(4 * MIB / inner.len());
    let end = b"0\r\n\r\n";
    let chunked = [&chunk[..], end].concat();
    let chunks = [&chunk.repeat(4 * MIB / chunk.len())[..], end].concat();
    // If a sender asks for a 100 but sends its body without waiting for it, the connection is
    // closed.
    let expecting = unsigned(&format!("{}\r\nExpect: 100-continue", length(large.len())));
    for (head, body, expected) in [
        (unsigned(&length(inner.len())), &inner, &["401", "200"][..]),
        (head(FORGED, inner.len()), &inner, &["401", "200"]),
        // A large body is read to the end, and its connection is closed.
        (unsigned(&length(large.len())), &large, &["401"]),
        (head(FORGED, large.len()), &large, &["413"]),
        // A body without a declared length is not read.
        (unsigned("Transfer-Encoding: chunked"), &chunked, &["401"]),
        (forged_chunks(), &chunks, &["413"]),
        (expecting, &large, &["401"]),
        // This body is too long to be read to the end.
        (
            unsigned(&length(4 * large.len())),
            &large.repeat(4),
            &["401"],
        ),
    ] {
        let (mut read, mut write) = connect(&receiver).await.into_split();
        let request = [head.as_bytes(), body, LAST].concat();
        // Writing fails if the receiver does not read the rest.
        let (text, _) = tokio::join!(to_the_end(&mut read), write.write_all(&request));
        assert_eq!(statuses(&text), expected, "{head}");
    }
    unharmed(receiver, &[]).await;
}

fn length(bytes: usize) -> String {
    format!("Content-Length: {bytes}")
}

/// Attack: make the receiver request a body that it then rejects. It requests bodies only from
/// honest senders.
#[tokio::test]
async fn a_100_is_sent_only_to_a_request_with_a_signature() {
    let receiver = Receiver::start(&[]);
    let expect = |head: String| head.replace("Host", "Expect: 100-continue\r\nHost");
    for (head, expected) in [
        (unsigned("Content-Length: 4000000"), "401"),
        (unsigned("Transfer-Encoding: chunked"), "401"),
        (head("malformed", 1), "401"),
        (head(FORGED, 4_000_000), "413"),
    ] {
        let mut stream = connect(&receiver).await;
        stream.write_all(expect(head).as_bytes()).await.unwrap();
        let text = to_the_end(&mut stream).await;
        assert_eq!(statuses(&text), [expected], "{text}");
    }
    let body = event("asked for");
    let mut stream = connect(&receiver).await;
    let asking = expect(head(&sign(&body), body.len()));
    stream.write_all(asking.as_bytes()).await.unwrap();
    assert_eq!(status(&response_head(&mut stream).await), "100");
    stream.write_all(&body).await.unwrap();
    assert_eq!(status(&response_head(&mut stream).await), "200");
    unharmed(receiver, &["asked for"]).await;
}

/// Attack: hang up after any number of a request's bytes, by closing or resetting the connection.
#[tokio::test]
async fn hanging_up_at_any_byte_is_no_delivery() {
    let receiver = Receiver::start(&[]);
    let declared = signed_bytes(&event("cut off"));
    let body = event("cut off, too");
    let signature = format!("X-Webhook-Signature: {}", sign(&body));
    let chunked = [
        unsigned(&format!("{signature}\r\nTransfer-Encoding: chunked")).as_bytes(),
        format!("{:x}\r\n", body.len()).as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    for request in [declared, chunked] {
        for end in 0..request.len() {
            for resets in [false, true] {
                let mut stream = connect(&receiver).await;
                stream.write_all(&request[..end]).await.unwrap();
                if resets {
                    stream.set_zero_linger().unwrap();
                }
            }
        }
    }
    deliver(&receiver, "whole").await;
    unharmed(receiver, &["whole"]).await;
}
