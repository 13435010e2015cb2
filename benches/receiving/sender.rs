//! Sends events.

use std::{
    fmt::Write,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{CONNECTIONS, SECRET, TIME};

/// The next event's number, so that no event is a duplicate.
pub(crate) static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The result of [`send`].
pub(crate) struct Sent {
    pub(crate) accepted: u64,
    pub(crate) per_second: f64,
    /// The sorted response times. If the rate is limited, each time is measured from the moment at
    /// which the event was due.
    times: Vec<Duration>,
}

impl Sent {
    pub(crate) fn new(mut times: Vec<Duration>, elapsed: Duration) -> Self {
        times.sort_unstable();
        Self {
            accepted: times.len() as u64,
            per_second: times.len() as f64 / elapsed.as_secs_f64(),
            times,
        }
    }

    /// Returns the response time, in milliseconds, that this share of the responses did not exceed.
    pub(crate) fn millis(&self, share: f64) -> f64 {
        self.times[(self.times.len() as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

/// Sends new events of `len` bytes for [`TIME`].
pub(crate) async fn send(addr: &str, len: usize) -> Sent {
    send_at(addr, len, None, TIME).await
}

/// Sends new events for the given time, at most `limit` per second across all connections.
pub(crate) async fn send_at(addr: &str, len: usize, limit: Option<f64>, time: Duration) -> Sent {
    let (times, start) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let mut senders = JoinSet::new();
    for sender in 0..CONNECTIONS {
        let (addr, all) = (addr.to_owned(), Arc::clone(&times));
        senders.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let pause = limit.map(|limit| Duration::from_secs_f64(f64::from(CONNECTIONS) / limit));
            let mut times = Vec::new();
            let mut due = start + pause.unwrap_or_default() * sender / CONNECTIONS;
            loop {
                match pause {
                    Some(_) => sleep_until(due).await,
                    None => due = Instant::now(),
                }
                if start.elapsed() >= time {
                    break;
                }
                deliver(&mut stream, len).await;
                times.push(due.elapsed());
                due += pause.unwrap_or_default();
            }
            all.lock().expect("the times").append(&mut times);
        });
    }
    senders.join_all().await;
    let times = std::mem::take(&mut *times.lock().expect("the times"));
    Sent::new(times, start.elapsed())
}

/// Sends an event, and checks that it is accepted.
async fn deliver(stream: &mut TcpStream, len: usize) {
    let body = body(NUMBER.fetch_add(1, Ordering::Relaxed), len);
    let mut request = format!(
        "POST /webhooks/soundhash HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\
         {SIGNATURE_HEADER}: {}\r\n\r\n",
        Secret::new(SECRET).sign(body.as_bytes())
    );
    request.push_str(&body);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::with_capacity(1024);
    while !response.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut response).await.expect("a response");
        assert!(read > 0, "the connection was closed");
    }
    let accepted = ["HTTP/1.1 200 ", "HTTP/1.1 202 "].map(str::as_bytes);
    let is_accepted = accepted.iter().any(|it| response.starts_with(it));
    assert!(is_accepted, "{}", String::from_utf8_lossy(&response));
}

/// Returns an event of `len` bytes, with as many matches as fit.
fn body(id: u64, len: usize) -> String {
    static MATCHES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut matches = String::new();
        for number in 1..3_000_u64 {
            let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (title, confidence) = (random >> 32, random % 1000);
            let (start, id) = (random % 3600, random % 100_000);
            let _ = write!(
                matches,
                r#"{{"video_id": {id}, "title": "Video {title:x}", "confidence": 0.{confidence}, "#,
            );
            let _ = write!(
                matches,
                r#""start_time": {start}, "end_time": {}}}, "#,
                start + 15
            );
        }
        matches.into_bytes()
    });
    let mut body = format!(
        r#"{{"id": "{id:022}", "type": "match.found", "created_at": "2026-11-23T08:56:12+00:00", "data": {{"query_id": "q", "matches": ["#
    );
    let end = "]}}";
    let room = &MATCHES[..len - body.len() - end.len()];
    // The last match that fits is the last one whose closing brace fits. The rest is padded with
    // spaces.
    let fits = room
        .iter()
        .rposition(|byte| *byte == b'}')
        .map_or(0, |at| at + 1);
    body.push_str(std::str::from_utf8(&room[..fits]).expect("text"));
    body.extend(std::iter::repeat_n(' ', room.len() - fits));
    body + end
}
