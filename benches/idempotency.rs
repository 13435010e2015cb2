//! `cargo bench -p soundhash-webhook-benches --bench idempotency`
//!
//! Measures the cost of idempotency. Compare the figures within a run, not between machines. This
//! needs `redis-server`. With the argument `memory`, only the part without Redis runs.

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Extension, Router, body::Body, http::Request, routing::post};
use redis::cmd;
use soundhash_webhook::{
    Delivery, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer,
    idempotency::{Claim, ClaimToken, IdempotencyLayer, IdempotencyStore, Key, MemoryStore},
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_tests::{process::Receiver, redis_server::RedisServer};
use tower::ServiceExt;

const SECRET: &str = "whsec_test";
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns an event of 300 bytes, as the dispatcher writes it.
fn body(id: u64) -> String {
    let mut body = format!(
        r#"{{"id": "evt_{id:018}", "type": "video.processed", "created_at": "2026-11-23T08:56:12Z", "data": {{"video_id": 1, "video_url": "https://example.com/v/1", "fingerprint_count": 7, "title": ""#
    );
    while body.len() < 297 {
        body.push('x');
    }
    body.push_str("\"}}");
    body
}

fn request(id: u64) -> Request<Body> {
    let body = body(id);
    Request::post("/webhooks/soundhash")
        .header(
            SIGNATURE_HEADER,
            Secret::new(SECRET).sign(body.as_bytes()).to_string(),
        )
        .body(Body::from(body))
        .expect("a request")
}

/// Returns the nanoseconds per call, in the best of five rounds of `count` calls.
async fn nanoseconds<F: AsyncFnMut(u64)>(count: u64, mut run: F) -> f64 {
    let mut best = f64::MAX;
    for round in 0..5 {
        let start = Instant::now();
        for number in round * count..(round + 1) * count {
            run(number).await;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / precise(count));
    }
    best
}

fn precise(number: u64) -> f64 {
    f64::from(u32::try_from(number).expect("a small number"))
}

async fn act_once(store: &MemoryStore, key: &Key) -> ClaimToken {
    let Ok(Claim::Acquired(token)) = store.claim(key, MINUTE).await else {
        panic!("{key} was claimed before");
    };
    black_box(store.complete(key, token, DAY).await.expect("completed"));
    token
}

async fn memory() {
    let secret = Secret::new(SECRET);
    let body = body(1);
    assert_eq!(body.len(), 300);
    let signature = secret.sign(body.as_bytes()).to_string();
    let signature = signature.parse().expect("a header value");
    let verify = nanoseconds(100_000, async |_| {
        black_box(secret.verify(&signature, black_box(body.as_bytes()))).expect("a signature");
    });
    let verify = verify.await;

    let store = MemoryStore::new(100_000);
    let keys: Vec<Key> = (0..500_000)
        .map(|id| Key::new(&format!("tevt_{id:018}")))
        .collect();
    let once = nanoseconds(100_000, async |number| {
        let at = usize::try_from(number).expect("an index");
        act_once(&store, &keys[at]).await;
    });
    let once = once.await;
    println!("verification of 300 bytes           {verify:8.0} ns");
    println!(
        "MemoryStore: claim and complete     {once:8.0} ns   {:.2} of it",
        once / verify
    );

    let plain: Router = Router::new().route("/webhooks/soundhash", post(|| async {}));
    let verified = plain.clone().layer(SoundHashWebhookLayer::new(SECRET));
    let layer = IdempotencyLayer::new(MemoryStore::new(100_000));
    let whole = plain.layer(layer).layer(SoundHashWebhookLayer::new(SECRET));
    let mut times = Vec::new();
    for app in [verified, whole] {
        let requests: Vec<_> = (1..=100_000).map(request).collect();
        let mut requests = requests.into_iter();
        let time = nanoseconds(20_000, async |_| {
            let Ok(response) = app.clone().oneshot(requests.next().expect("another")).await;
            black_box(response);
        });
        times.push(time.await);
    }
    println!("request through the verification    {:8.0} ns", times[0]);
    println!(
        "request through both layers         {:8.0} ns   {:.2} of it",
        times[1],
        times[1] / times[0]
    );
}

/// Measures keys. If the event has a unique id, the SHA-256 of the body must not cost anything.
async fn keys() {
    let title = "x".repeat(1_000_000);
    for (sender, id) in [
        ("dispatcher", r#""type": "video.processed", "id""#),
        ("portal", r#""event": "video.processed", "delivery_id""#),
    ] {
        let mut times = Vec::new();
        for title in ["x", &title] {
            let delivery = delivery(format!(
                r#"{{{id}: "evt_000000000000000001", "data": {{"title": "{title}"}}}}"#
            ));
            let delivery = delivery.await;
            let count = if title.len() > 1 { 100 } else { 100_000 };
            let time = nanoseconds(count, async |_| {
                black_box(Key::from(black_box(&delivery)));
            });
            times.push(time.await);
        }
        println!(
            "key of a {sender:<10} event            {:8.0} ns   {:9.0} ns with a body of 1 MB",
            times[0], times[1]
        );
    }
}

/// Returns a delivery whose envelope has been parsed.
async fn delivery(body: String) -> Delivery {
    let app: Router = Router::new()
        .route(
            "/",
            post(|delivery: Delivery| async { Extension(delivery) }),
        )
        .layer(SoundHashWebhookLayer::new(SECRET));
    let signature = Secret::new(SECRET).sign(body.as_bytes()).to_string();
    let request = Request::post("/")
        .header(SIGNATURE_HEADER, signature)
        .body(Body::from(body))
        .expect("a request");
    let Ok(mut response) = app.oneshot(request).await;
    let delivery: Delivery = response.extensions_mut().remove().expect("a delivery");
    black_box(Key::from(&delivery));
    delivery
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

async fn size() {
    const EVENTS: u64 = 1_000_000;
    let before = resident();
    let store = MemoryStore::new(1_000_000);
    for id in 0..EVENTS {
        // These keys are as long as the dispatcher's ids.
        act_once(&store, &Key::new(&format!("tevt_{id:018}"))).await;
    }
    let bytes = precise((resident() - before) / 1024) * 1024.0 / precise(EVENTS);
    println!("MemoryStore: at {EVENTS} events   {bytes:8.0} bytes each");
    black_box(store);
}

async fn evalsha(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = cmd("INFO")
        .arg("commandstats")
        .query_async(connection)
        .await
        .expect("INFO");
    let calls = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls
        .and_then(|line| line.split(',').next())
        .and_then(|calls| calls.parse().ok());
    calls.expect("a number of calls")
}

async fn round_trips(server: &RedisServer) {
    const EVENTS: u64 = 1000;
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let store = RedisStore::connect(server.url())
        .await
        .expect("a connection");
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(|| async {}))
        .layer(IdempotencyLayer::new(store))
        .layer(SoundHashWebhookLayer::new(SECRET));
    let send = async |id| {
        let Ok(response) = app.clone().oneshot(request(id)).await;
        assert!(response.status().is_success());
    };
    send(0).await;
    let mut before = evalsha(&mut connection).await;
    for kind in ["accepted", "duplicate"] {
        for id in 1..=EVENTS {
            send(id).await;
        }
        let after = evalsha(&mut connection).await;
        let trips = precise(after - before) / precise(EVENTS);
        println!("RedisStore: round trips, {kind:<10} {trips:8.2}");
        before = after;
    }
}

/// Returns the number of deliveries per second that `processes` accept together.
async fn throughput(processes: usize, handler_ms: &str) -> f64 {
    const SECONDS: u64 = 5;
    let server = RedisServer::start();
    let url = server.url();
    let variables = [
        ("SOUNDHASH_WEBHOOK_REDIS", url.as_str()),
        ("SOUNDHASH_WEBHOOK_HANDLER_MS", handler_ms),
    ];
    let fleet: Vec<Receiver> = (0..processes)
        .map(|_| Receiver::of("fleet", &variables))
        .collect();
    let next = Arc::new(AtomicU64::new(1));
    let client = reqwest::Client::new();
    let start = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..64 {
        let (client, next, url) = (
            client.clone(),
            next.clone(),
            fleet[sender % processes].url(),
        );
        senders.spawn(async move {
            let mut accepted = 0;
            while start.elapsed() < Duration::from_secs(SECONDS) {
                let body = body(next.fetch_add(1, Ordering::Relaxed));
                let signature = Secret::new(SECRET).sign(body.as_bytes()).to_string();
                let sent = client
                    .post(&url)
                    .header(SIGNATURE_HEADER, signature)
                    .body(body)
                    .send();
                let status = sent.await.expect("an answer").status();
                assert_eq!(status, 200);
                accepted += 1;
            }
            accepted
        });
    }
    let accepted: u64 = senders.join_all().await.into_iter().sum();
    precise(accepted) / start.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    // This comes first, before the allocator has memory that it can reuse.
    size().await;
    memory().await;
    keys().await;
    if std::env::args().any(|argument| argument == "memory") {
        return;
    }
    let server = RedisServer::start();
    round_trips(&server).await;
    drop(server);
    for handler_ms in ["0", "50"] {
        let one = throughput(1, handler_ms).await;
        let two = throughput(2, handler_ms).await;
        println!("fleet, handler of {handler_ms:>2} ms: one process  {one:8.0} a second");
        println!(
            "fleet, handler of {handler_ms:>2} ms: two processes{two:8.0} a second   {:.2} of it",
            two / one
        );
    }
}
