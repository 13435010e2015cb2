//! Tests `RedisStore` on real servers that are paused, killed, restarted and failed over.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
};
use soundhash_webhook::{
    Delivery,
    idempotency::{Claim, IdempotencyLayer, IdempotencyStore, Key},
    testing::store_conformance,
};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_tests::{
    idempotency::{self, DUPLICATE, RUN, Runs, STORE_UNAVAILABLE, app, event, send},
    model,
    proxy::HangingProxy,
    redis_server::RedisServer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// A step is certain to finish within this time, even on a busy machine.
const SOON: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns a store with the default deadline.
async fn impatient(server: &RedisServer) -> RedisStore {
    RedisStore::connect(server.url()).await.unwrap()
}

/// Returns a store for tests that are not about deadlines.
async fn store(server: &RedisServer) -> RedisStore {
    impatient(server).await.deadline(Duration::from_secs(60))
}

async fn connection(server: &RedisServer) -> ConnectionManager {
    let config = ConnectionManagerConfig::new().set_response_timeout(None);
    let client = Client::open(server.url()).unwrap();
    ConnectionManager::new_with_config(client, config)
        .await
        .unwrap()
}

/// Loads the scripts by running each of them once. After that, each run is a single command.
async fn load_scripts(store: &RedisStore) {
    let key = Key::new("loaded");
    match store.claim(&key, SOON).await.unwrap() {
        Claim::Acquired(token) => assert!(store.release(&key, token).await.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redis_store_conforms() {
    let server = RedisServer::start();
    store_conformance(store(&server).await).await;
    // This store uses an existing connection, and the server no longer has the scripts.
    let mut connection = connection(&server).await;
    cmd("SCRIPT")
        .arg("FLUSH")
        .exec_async(&mut connection)
        .await
        .unwrap();
    store_conformance(Arc::new(RedisStore::from_connection(connection))).await;
}

/// Simulates the passage of time by shortening the remaining lifetime of the server's keys.
async fn wait(connection: &mut ConnectionManager, prefix: &str, hours: u32) {
    let keys: Vec<String> = cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query_async(connection)
        .await
        .unwrap();
    for key in keys {
        let left: i64 = cmd("PTTL").arg(&key).query_async(connection).await.unwrap();
        assert!(left > 0, "a key that does not expire");
        let left = left - i64::from(hours) * 3_600_000;
        cmd("PEXPIRE")
            .arg(&key)
            .arg(left)
            .exec_async(connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_redis_store_behaves_like_the_model() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let connection = connection(&server).await;
    let mut runner = TestRunner::default();
    for case in 0..100 {
        let steps = model::steps().new_tree(&mut runner).unwrap().current();
        let prefix = format!("{case}:");
        let store = store.clone().prefix(prefix.clone());
        let name = |key: u8| Key::new(&key.to_string());
        let wait = |hours| {
            let (mut connection, prefix) = (connection.clone(), prefix.clone());
            async move { wait(&mut connection, &prefix, hours).await }
        };
        println!("{steps:?}");
        let forget = async |key: &Key| store.forget(key).await.unwrap();
        model::compare(&store, forget, name, &steps, wait).await;
    }
}

#[tokio::test]
async fn keys_have_the_prefix_and_expire() {
    let server = RedisServer::start();
    let mut connection = connection(&server).await;
    let layer = IdempotencyLayer::new(store(&server).await).lease(Duration::from_secs(30));
    let app = app(layer.clone(), || async { StatusCode::OK });
    assert_eq!(send(&app, event("a")).await, RUN);
    let other = IdempotencyLayer::new(store(&server).await.prefix("other/"));
    let other = idempotency::app(other, || async { StatusCode::OK });
    assert_eq!(send(&other, event("a")).await, RUN);
    let mut keys: Vec<String> = cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    keys.sort();
    assert_eq!(keys, ["other/ta", "soundhash-webhook:ta"]);
    for key in keys {
        let left: i64 = cmd("PTTL")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!((80_000_000..=86_400_000).contains(&left), "{left}");
    }
}

/// Returns how often the server executed each command.
async fn commands(connection: &mut ConnectionManager) -> HashMap<String, u64> {
    let info: String = cmd("INFO")
        .arg("commandstats")
        .query_async(connection)
        .await
        .unwrap();
    let calls = info.lines().filter_map(|line| {
        let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), stats.split(',').next()?.parse().ok()?))
    });
    calls.collect()
}

#[tokio::test]
async fn an_accepted_delivery_costs_two_round_trips_and_a_duplicate_one() {
    let server = RedisServer::start();
    let mut connection = connection(&server).await;
    let app = app(IdempotencyLayer::new(store(&server).await), || async {
        StatusCode::OK
    });
    // The first delivery loads the scripts.
    send(&app, event("first")).await;
    let before = commands(&mut connection).await;
    for id in 1..=10 {
        assert_eq!(send(&app, event(id)).await, RUN);
    }
    let between = commands(&mut connection).await;
    for id in 1..=10 {
        assert_eq!(send(&app, event(id)).await, DUPLICATE);
    }
    let after = commands(&mut connection).await;
    assert_eq!(between["evalsha"] - before["evalsha"], 20);
    assert_eq!(after["evalsha"] - between["evalsha"], 10);
    // The commands inside the scripts are counted as well. The layer did not send any other
    // commands.
    for (name, calls) in after {
        if !["evalsha", "info", "set", "get", "del", "pexpire"].contains(&name.as_str()) {
            assert_eq!(before.get(&name), Some(&calls), "{name}");
        }
    }
}

#[tokio::test]
async fn connecting_to_a_server_that_is_down_is_an_error() {
    let mut server = RedisServer::start();
    server.stop();
    let start = Instant::now();
    let error = RedisStore::connect(server.url()).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(start.elapsed() < SOON);
    let error = RedisStore::connect("http://127.0.0.1").await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("url"), "{error}");
}

/// A hanging store must neither block the handlers nor let a delivery through.
#[tokio::test]
async fn while_the_server_is_paused_the_response_is_503_within_the_deadline() {
    let server = RedisServer::start();
    let runs = Runs::default();
    let store = impatient(&server).await;
    load_scripts(&store).await;
    let app = app(IdempotencyLayer::new(store), runs.handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    server.signal("STOP");
    let start = Instant::now();
    let mut copies = JoinSet::new();
    for id in ["a", "b", "b", "c"] {
        let app = app.clone();
        copies.spawn(async move { send(&app, event(id)).await });
    }
    while let Some(outcome) = copies.join_next().await {
        assert_eq!(outcome.unwrap(), STORE_UNAVAILABLE);
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(runs.count(), 1);
    server.signal("CONT");
    // The server now executes the abandoned claims, followed by their releases.
    for id in ["b", "c"] {
        let start = Instant::now();
        while send(&app, event(id)).await != RUN {
            assert!(start.elapsed() < SOON);
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(send(&app, event(id)).await, DUPLICATE);
    }
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 3);
}

/// Returns the open connections to the server, each as the fields of its line in `/proc/net/tcp`.
#[cfg(target_os = "linux")]
fn connections(server: &RedisServer) -> Vec<Vec<String>> {
    const ESTABLISHED: &str = "01";
    let url = server.url();
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace());
    lines
        .map(|fields| fields.map(String::from).collect::<Vec<_>>())
        .filter(|fields| fields[2].ends_with(&remote) && fields[3] == ESTABLISHED)
        .collect()
}

/// An idle connection to a dead machine is probed within seconds, instead of the usual two hours.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_connection_is_probed_within_seconds() {
    let server = RedisServer::start();
    let _store = store(&server).await;
    let start = Instant::now();
    let hundredths = loop {
        let connections = connections(&server);
        let [connection] = &connections[..] else {
            panic!("{connections:?}");
        };
        // The active timer and its remaining time. At first, this may be the retransmission timer.
        let (timer, fires) = connection[5].split_once(':').unwrap();
        if timer == "02" {
            break u32::from_str_radix(fires, 16).unwrap();
        }
        assert!(start.elapsed() < SOON, "{connection:?}");
        sleep(Duration::from_millis(10)).await;
    };
    assert!(hundredths <= 500, "{hundredths}");
}

/// The server hangs just as the handler succeeds. The sender still gets its 200, and the completion
/// is recorded once the server resumes.
#[tokio::test]
async fn a_completion_waits_for_the_server() {
    let server = Arc::new(RedisServer::start());
    let runs = Runs::default();
    let paused = server.clone();
    let app = app(
        IdempotencyLayer::new(impatient(&server).await),
        runs.then(move |_| {
            let paused = paused.clone();
            async move {
                paused.signal("STOP");
                StatusCode::OK
            }
        }),
    );
    let start = Instant::now();
    assert_eq!(send(&app, event("a")).await, RUN);
    assert!(start.elapsed() < SOON);
    assert_eq!(send(&app, event("a")).await, STORE_UNAVAILABLE);
    server.signal("CONT");
    let start = Instant::now();
    while send(&app, event("a")).await != DUPLICATE {
        assert!(start.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(runs.count(), 1);
}

/// Forwards new connections to the current `target`, like an address that moves during a failover.
/// Open connections stay with their server.
async fn proxy(target: watch::Receiver<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = *target.borrow();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_replies_is_replaced() {
    let server = RedisServer::start();
    let proxy = HangingProxy::start(port(&server)).await;
    let store = RedisStore::connect(format!("redis://127.0.0.1:{}", proxy.port)).await;
    let runs = Runs::default();
    let app = app(IdempotencyLayer::new(store.unwrap()), runs.handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    proxy.hang();
    assert_eq!(send(&app, event("b")).await, STORE_UNAVAILABLE);
    let start = Instant::now();
    while send(&app, event("b")).await != RUN {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(send(&app, event("b")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);
}

/// Servers and proxies close idle connections. If each delivery found a closed one, SoundHash would
/// give an event up.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_delivery() {
    let server = RedisServer::start();
    let mut other = connection(&server).await;
    let app = app(IdempotencyLayer::new(store(&server).await), || async {
        StatusCode::OK
    });
    let mut close = cmd("CLIENT");
    close.arg("KILL").arg("TYPE").arg("normal");
    for id in 0..5 {
        for result in [RUN, DUPLICATE] {
            let closed: u64 = close.query_async(&mut other).await.unwrap();
            assert_eq!(closed, 1);
            assert_eq!(send(&app, event(id)).await, result);
        }
    }
}

/// Like [`proxy`], but closes the first connection on which a claim succeeds, and drops the reply.
async fn proxy_that_loses_a_reply(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut is_lost = false;
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let calls = async move { copy(&mut from_client, &mut to_server).await };
            let calls = tokio::spawn(calls);
            let mut reply = [0; 1024];
            while let Ok(length @ 1..) = from_server.read(&mut reply).await {
                if !is_lost && reply[..length].windows(8).any(|it| it == b"acquired") {
                    is_lost = true;
                    break;
                }
                to_client.write_all(&reply[..length]).await.unwrap();
            }
            calls.abort();
        }
    });
    port
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_still_held() {
    let server = RedisServer::start();
    let port = proxy_that_loses_a_reply(port(&server)).await;
    let store = RedisStore::connect(format!("redis://127.0.0.1:{port}")).await;
    let store = store.unwrap().deadline(Duration::from_secs(60));
    let runs = Runs::default();
    let app = app(IdempotencyLayer::new(store), runs.handler());
    for result in [RUN, DUPLICATE] {
        assert_eq!(send(&app, event("a")).await, result);
    }
    assert_eq!(runs.count(), 1);
}

async fn replicate(replica: &RedisServer, master: Option<&RedisServer>) {
    let (host, port) = match master {
        Some(master) => ("127.0.0.1".to_owned(), port(master).to_string()),
        None => ("NO".to_owned(), "ONE".to_owned()),
    };
    cmd("REPLICAOF")
        .arg(host)
        .arg(port)
        .exec_async(&mut connection(replica).await)
        .await
        .unwrap();
}

fn port(server: &RedisServer) -> u16 {
    server.url().rsplit(':').next().unwrap().parse().unwrap()
}

/// The former master keeps its connections and replies with `READONLY`.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_claims_soon_succeed() {
    // A store that ignored `READONLY` would replace its connection only after 5 s of failures.
    const LIMIT: Duration = Duration::from_secs(5);
    let (old, new) = (RedisServer::start(), RedisServer::start());
    replicate(&new, Some(&old)).await;
    let (target, watched) = watch::channel(port(&old));
    let url = format!("redis://127.0.0.1:{}", proxy(watched).await);
    let runs = Runs::default();
    let app = app(
        IdempotencyLayer::new(RedisStore::connect(url).await.unwrap()),
        runs.handler(),
    );
    assert_eq!(send(&app, event("a")).await, RUN);
    // Waits until the replica has every write that its master acknowledged.
    let replicas: u64 = cmd("WAIT")
        .arg(1)
        .arg(30_000)
        .query_async(&mut connection(&old).await)
        .await
        .unwrap();
    let mut replica = connection(&new).await;
    let start = Instant::now();
    while cmd("EXISTS")
        .arg("soundhash-webhook:ta")
        .query_async::<u64>(&mut replica)
        .await
        .unwrap()
        == 0
    {
        assert!(start.elapsed() < PATIENCE, "{replicas}");
        sleep(Duration::from_millis(10)).await;
    }

    replicate(&new, None).await;
    replicate(&old, Some(&new)).await;
    // Deliveries are not handled until the address moves.
    let start = Instant::now();
    assert_eq!(send(&app, event("b")).await, STORE_UNAVAILABLE);
    target.send(port(&new)).unwrap();
    while send(&app, event("b")).await != RUN {
        assert!(start.elapsed() < LIMIT);
    }
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(send(&app, event("b")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);

    // Repeats the failover with many concurrent deliveries, which share a single reconnection.
    replicate(&old, None).await;
    replicate(&new, Some(&old)).await;
    target.send(port(&old)).unwrap();
    let start = Instant::now();
    let mut deliveries = JoinSet::new();
    for id in 1..=64 {
        let app = app.clone();
        deliveries.spawn(async move {
            while send(&app, event(id)).await != RUN {
                assert!(start.elapsed() < LIMIT);
            }
        });
    }
    deliveries.join_all().await;
    assert_eq!(runs.count(), 66);
}

/// While the server is repeatedly paused, killed and restarted, senders retry until they get a 200.
/// Each event runs exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_and_outages_each_event_is_handled_once() {
    let mut server = RedisServer::start();
    let store = store(&server).await.deadline(Duration::from_millis(200));
    let runs: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = runs.clone();
    let handler = move |delivery: Delivery| async move {
        let id = delivery.event().unwrap().id.as_ref().unwrap().to_string();
        *counted.lock().unwrap().entry(id).or_default() += 1;
        tokio::task::yield_now().await;
        StatusCode::OK
    };
    // The lease is longer than an outage, so that every completion is recorded.
    let app = app(
        IdempotencyLayer::new(store).lease(Duration::from_secs(8)),
        handler,
    );
    let next = Arc::new(AtomicU64::new(1));
    let stop = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..16 {
        let (app, next, stop) = (app.clone(), next.clone(), stop.clone());
        let done = done.clone();
        senders.spawn(async move {
            let mut sent = Vec::new();
            while stop.load(Ordering::SeqCst) == 0 {
                let id = next.fetch_add(1, Ordering::SeqCst);
                while send(&app, event(id)).await.0 != 200 {
                    sleep(Duration::from_millis(20)).await;
                }
                sent.push(id);
                done.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(2)).await;
            }
            sent
        });
    }
    let wait_for_more = async || {
        let (before, start) = (done.load(Ordering::SeqCst), Instant::now());
        sleep(Duration::from_millis(200)).await;
        while done.load(Ordering::SeqCst) < before + 16 {
            assert!(start.elapsed() < PATIENCE);
            sleep(Duration::from_millis(10)).await;
        }
    };
    for round in 0..4 {
        wait_for_more().await;
        if round % 2 == 0 {
            server.signal("STOP");
            sleep(Duration::from_millis(500)).await;
            server.signal("CONT");
        } else {
            server.stop();
            sleep(Duration::from_millis(300)).await;
            server.restart();
        }
    }
    wait_for_more().await;
    stop.store(1, Ordering::SeqCst);
    let mut sent = Vec::new();
    while let Some(ids) = senders.join_next().await {
        sent.extend(ids.unwrap());
    }
    for id in sent {
        assert_eq!(runs.lock().unwrap()[&id.to_string()], 1, "event {id}");
        // The completion of one of the last events may not have been recorded yet.
        while send(&app, event(id)).await != DUPLICATE {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            runs.lock().unwrap()[&id.to_string()],
            1,
            "event {id}, sent again"
        );
    }
}

#[tokio::test]
async fn debug_output_shows_no_address_and_no_password() {
    let server = RedisServer::start();
    let shown = format!("{:?}", impatient(&server).await.prefix("mine:"));
    assert_eq!(shown, r#"RedisStore { prefix: "mine:", deadline: 5s, .. }"#);
}
