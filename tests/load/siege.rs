//! Measures what attacks cost a server and its honest senders.
//!
//! `cargo test --release --test load siege -- --nocapture --test-threads 1` prints a table of the
//! results. The server is plain `axum::serve` with the layer's defaults. It runs in a separate
//! process, whose memory is measured. Set `SIEGE_LATENCY=1` on a quiet machine to check the latency
//! of honest deliveries as well.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::post};
use bytes::Bytes;
use soundhash_webhook::SoundHashWebhookLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use soundhash_webhook_tests::{
    process::{Receiver, exchange, response_head, status},
    requests::{SECRET, head, sign, signed_bytes},
    wire::{FORGED, PATIENCE, connect, event, forged_chunks, unsigned},
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Filler bytes that attackers send.
static ZEROS: [u8; 1_000_000] = [b'0'; 1_000_000];

/// The environment variable that sets the server's `max_buffered`. An empty value means the
/// default.
const MAX_BUFFERED: &str = "SIEGE_MAX_BUFFERED";

/// Serves until it is killed. The attacks start this test in a separate process.
#[test]
#[ignore = "serves until it is killed"]
fn server() {
    let mut layer = SoundHashWebhookLayer::new(SECRET);
    match std::env::var(MAX_BUFFERED).as_deref() {
        Err(error) => panic!("{MAX_BUFFERED}: {error}. This test is started by the attacks"),
        Ok("") => {}
        Ok(bytes) => layer = layer.max_buffered(bytes.parse().expect("a number")),
    }
    let handler = post(async |body: Bytes| body.len().to_string());
    let app = Router::new()
        .route("/webhooks/soundhash", handler)
        .route_layer(layer);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        eprintln!("listening on http://{addr}/");
        axum::serve(listener, app).await.expect("no end");
    });
}

struct Server(Receiver);

impl Server {
    async fn start(max_buffered: &str) -> Self {
        rlimit::increase_nofile_limit(8 * 1024).expect("a limit of files");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "siege::server", "--ignored", "--nocapture"]);
        let server = Self(Receiver::listening(command.env(MAX_BUFFERED, max_buffered)));
        // A warm-up request triggers the one-time allocations.
        server.median(20).await;
        server
    }

    /// Returns the median latency of honest deliveries, each on its own connection. All must be
    /// served.
    async fn median(&self, deliveries: usize) -> Duration {
        let mut times = Vec::new();
        for n in 0..deliveries {
            let start = Instant::now();
            let request = signed_bytes(&event(&n.to_string()));
            let head = exchange(&self.0.addr, &request).await;
            assert_eq!(status(&head), "200");
            times.push(start.elapsed());
            // The pauses spread the deliveries across the attack.
            sleep(Duration::from_millis(10)).await;
        }
        times.sort_unstable();
        times[deliveries / 2]
    }

    /// Runs an attack and measures what it costs.
    async fn under(&self, name: &str, connections: usize, attack: impl AsyncFn(Attacker)) -> Cost {
        let calm = self.median(100).await;
        let before = self.0.resident() * KIB;
        let attacker = Attacker {
            addr: self.0.addr.clone().into(),
            sent: Arc::default(),
        };
        let sent = attacker.sent.clone();
        let honest = async {
            // The attack should already be in progress when honest deliveries are measured.
            sleep(Duration::from_millis(100)).await;
            self.median(100).await
        };
        let (hostile, ()) = tokio::join!(honest, attack(attacker));
        let peak = self.0.peak() * KIB;
        let cost = Cost {
            calm,
            hostile,
            growth: peak.saturating_sub(before),
            sent: sent.load(Ordering::Relaxed) as u64,
        };
        println!(
            "| {name} | {connections} | {} MiB | {} MiB | {calm:.1?} | {hostile:.1?} |",
            cost.sent / MIB,
            cost.growth / MIB
        );
        cost
    }
}

struct Cost {
    calm: Duration,
    hostile: Duration,
    growth: u64,
    sent: u64,
}

impl Cost {
    #[track_caller]
    fn assert(&self, most: u64) {
        assert!(self.growth <= most, "grown by {} of {most}", self.growth);
        // This needs a quiet machine, because a busy one delays deliveries even without an attack.
        if std::env::var_os("SIEGE_LATENCY").is_some() {
            let most = 5 * self.calm + Duration::from_millis(250);
            assert!(self.hostile < most, "{:?} of {most:?}", self.hostile);
        }
    }
}

#[derive(Clone)]
struct Attacker {
    addr: Arc<str>,
    sent: Arc<AtomicUsize>,
}

impl Attacker {
    /// Sends until all bytes are sent or the server closes the connection. Returns whether all were
    /// sent.
    async fn send(&self, stream: &mut TcpStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match stream.write(bytes).await {
                Ok(written @ 1..) => {
                    self.sent.fetch_add(written, Ordering::Relaxed);
                    bytes = &bytes[written..];
                }
                _ => return false,
            }
        }
        true
    }

    /// Opens many connections at once. Each sends `head` and 900 kB of a body, or an endless body,
    /// and stays open until the server closes it. Returns once all connections are closed.
    async fn bodies(self, connections: usize, head: String, is_endless: bool) {
        let head: Arc<str> = head.into();
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            let (this, head) = (self.clone(), head.clone());
            senders.spawn(async move {
                let Ok(mut stream) = TcpStream::connect(&*this.addr).await else {
                    return;
                };
                this.send(&mut stream, head.as_bytes()).await;
                while this.send(&mut stream, &ZEROS[..900_000]).await && is_endless {}
                let mut rest = Vec::new();
                let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
                let _ = end.expect("an end");
            });
        }
        senders.join_all().await;
    }
}

const CONNECTIONS: usize = 1_500;

/// The maximum memory that many connections may cost with the default settings.
const MANY: u64 = 64 * MIB + CONNECTIONS as u64 * 40 * KIB;

/// Attack: send rejected requests with their whole bodies. While a peer sends quickly, hyper's read
/// buffer grows to 408 KiB per connection. The layer has to receive the bodies of requests with a
/// well-formed signature. The last kind of request has a chunk that never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_bodies_cost_little_memory() {
    for (name, head) in [
        ("unsigned bodies", unsigned("Content-Length: 1000000")),
        ("wrongly signed", head(FORGED, 1_000_000)),
        ("wrongly signed, chunked", forged_chunks() + "f4240\r\n"),
    ] {
        let server = Server::start("").await;
        let attack = async |it: Attacker| it.bodies(CONNECTIONS, head.clone(), false).await;
        let cost = server.under(name, CONNECTIONS, attack).await;
        cost.assert(MANY);
    }
}

/// Attack: send a chunk size with endless leading zeros. hyper reads them without yielding a frame,
/// so a limit on frames or bytes does not stop them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsigned_chunk_size_without_end_is_not_read() {
    let server = Server::start("").await;
    let head = unsigned("Transfer-Encoding: chunked");
    let attack = async |it: Attacker| it.bodies(2, head.clone(), true).await;
    let cost = server
        .under("unsigned zeros of a chunk's size", 2, attack)
        .await;
    cost.assert(8 * MIB);
    assert!(cost.sent < 200 * MIB, "{} bytes were read", cost.sent);
}

/// Attack: send small frames in large read buffers. Each frame keeps its whole buffer alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_in_large_buffers_cost_what_they_hold() {
    let server = Server::start("4194304").await;
    let first = [head(FORGED, ZEROS.len()).as_bytes(), &ZEROS[..]].concat();
    let piece = [&ZEROS[..417_000], b"10cc\r\n", &ZEROS[..4_300], b"\r\n"].concat();
    let attack = async |it: Attacker| {
        let mut senders = JoinSet::new();
        for _ in 0..16 {
            let (it, first, piece) = (it.clone(), first.clone(), piece.clone());
            senders.spawn(async move {
                let mut stream = TcpStream::connect(&*it.addr).await.expect("a connection");
                // The first request makes the read buffer grow, which matters if the server keeps
                // the connection open.
                it.send(&mut stream, &first).await;
                response_head(&mut stream).await;
                if !it.send(&mut stream, forged_chunks().as_bytes()).await {
                    stream = TcpStream::connect(&*it.addr).await.expect("a connection");
                    it.send(&mut stream, forged_chunks().as_bytes()).await;
                }
                while it.send(&mut stream, &piece).await {}
            });
        }
        senders.join_all().await;
    };
    let cost = server
        .under("4 KiB frames, max_buffered 4 MiB", 16, attack)
        .await;
    let most = (4 + 20) * MIB;
    assert!(cost.growth <= most, "grown by {}", cost.growth);
}

/// Attack: send large heads without their bodies. The server keeps each head until it responds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_heads_cost_what_they_hold() {
    const HEADS: usize = 900;
    let server = Server::start("").await;
    let fields = (0..90).map(|n| format!("x-{n}: {}\r\n", "0".repeat(4_000)));
    let fields: String = fields.collect();
    let head = unsigned(&format!(
        "X-Webhook-Signature: {FORGED}\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n{}",
        fields.trim_end()
    ));
    let attack = async |it: Attacker| {
        let mut waiting = Vec::new();
        for _ in 0..HEADS {
            let mut stream = connect(&server.0).await;
            it.send(&mut stream, head.as_bytes()).await;
            // Each head is completed before the next one is sent, because a layer cannot limit the
            // memory that a server uses for incomplete heads.
            response_head(&mut stream).await;
            waiting.push(stream);
        }
    };
    let cost = server.under("heads of 360 kB", HEADS, attack).await;
    cost.assert(64 * MIB + HEADS as u64 * 40 * KIB);
}

/// Attack: fill the buffer, so that a distant sender is evicted. The delivery arrives in several
/// bursts, as in TCP slow start with a round-trip time of 120 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_from_far_away_is_served_while_the_buffer_is_full() {
    let server = Server::start("").await;
    let mut attackers = Vec::new();
    // The small bodies fill the gap left by the large ones.
    for (count, len) in [(150, 999_999), (100, 9_000)] {
        for _ in 0..count {
            let mut stream = connect(&server.0).await;
            let head = head(FORGED, 1_000_000);
            stream.write_all(head.as_bytes()).await.unwrap();
            // Some of the bodies are rejected in the meantime.
            let _ = stream.write_all(&ZEROS[..len]).await;
            attackers.push(stream);
        }
        sleep(Duration::from_secs(1)).await;
    }
    let body = vec![b'x'; 40_000];
    let mut stream = connect(&server.0).await;
    let head = head(&sign(&body), body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    for flight in [&body[..14_600], &body[14_600..]] {
        stream.write_all(flight).await.unwrap();
        sleep(Duration::from_millis(120)).await;
    }
    assert_eq!(status(&response_head(&mut stream).await), "200");
}
