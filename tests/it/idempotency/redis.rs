//! `RedisStore`, against a real server that is paused, killed and restarted.

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
    idempotency::{Claim, IdempotencyLayer, IdempotencyStore, Key, RedisStore, Token},
    testing::store_conformance,
};
use soundhash_webhook_tests::redis_server::RedisServer;
use tokio::{task::JoinSet, time::sleep};

use super::{
    model,
    support::{DUPLICATE, RUN, Runs, STORE_UNAVAILABLE, app, event, flood, send},
};

/// Longer than any deadline that is tested, on a busy machine too.
const SOON: Duration = Duration::from_secs(8);

/// With the deadline of the defaults.
async fn impatient(server: &RedisServer) -> RedisStore {
    RedisStore::connect(server.url()).await.unwrap()
}

/// For tests that are not about deadlines.
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

/// The scripts of a claim and a release are loaded by their first use: the next is a single step.
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
    // On a connection that was there before, and after the server forgot the scripts.
    let mut connection = connection(&server).await;
    cmd("SCRIPT")
        .arg("FLUSH")
        .exec_async(&mut connection)
        .await
        .unwrap();
    store_conformance(Arc::new(RedisStore::from_connection(connection))).await;
}

/// Lets time pass for the server's keys.
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
async fn the_redis_store_does_what_the_model_does() {
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
        model::compare(&store, name, &steps, wait).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_copies_of_each_of_1000_events_one_runs() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let runs = Runs::default();
    let app = app(
        IdempotencyLayer::new(store),
        runs.then(|_| async {
            tokio::task::yield_now().await;
            StatusCode::OK
        }),
    );
    flood(&[app], 1000, &runs).await;
    assert_eq!(runs.count(), 1000);
}

#[tokio::test]
async fn keys_have_the_prefix_and_expire() {
    let server = RedisServer::start();
    let mut connection = connection(&server).await;
    let layer = IdempotencyLayer::new(store(&server).await).lease(Duration::from_secs(30));
    let app = app(layer.clone(), || async { StatusCode::OK });
    assert_eq!(send(&app, event("a")).await, RUN);
    let other = IdempotencyLayer::new(store(&server).await.prefix("other/"));
    let other = super::support::app(other, || async { StatusCode::OK });
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

/// Redis refuses an expiry that its clock cannot count.
#[tokio::test]
async fn a_time_of_any_length_is_an_expiry() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let server = RedisServer::start();
    let mut connection = connection(&server).await;
    let store = store(&server).await;
    let claim = store.claim(&Key::new("a"), Duration::MAX).await.unwrap();
    assert!(matches!(claim, Claim::Acquired(_)), "{claim:?}");
    let left: i64 = cmd("PTTL")
        .arg("soundhash-webhook:a")
        .query_async(&mut connection)
        .await
        .unwrap();
    let century = 100 * 365 * DAY;
    assert!((century - DAY..=century).contains(&left), "{left}");
}

#[tokio::test]
async fn a_handler_that_fails_panics_or_is_cut_off_is_run_again() {
    let server = RedisServer::start();
    let runs = Runs::default();
    let handler = runs.then(|run| async move {
        match run {
            1 => StatusCode::INTERNAL_SERVER_ERROR,
            2 => panic!("the second run panics"),
            3 => std::future::pending().await,
            _ => StatusCode::OK,
        }
    });
    let app = app(IdempotencyLayer::new(store(&server).await), handler);
    assert_eq!(send(&app, event("a")).await, (500, None));
    let panics = app.clone();
    let panicked = tokio::spawn(async move { send(&panics, event("a")).await });
    assert!(panicked.await.unwrap_err().is_panic());
    let cut_off = app.clone();
    let cut_off = tokio::spawn(async move { send(&cut_off, event("a")).await });
    while runs.count() < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    cut_off.abort();
    assert!(cut_off.await.unwrap_err().is_cancelled());
    // The release is on its way.
    let start = Instant::now();
    while send(&app, event("a")).await != RUN {
        assert!(start.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 4);
}

/// How many commands the server was sent so far, other than to set up connections.
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
    // The scripts are loaded once.
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
    // What is in the scripts does not travel; nothing else was sent.
    for (name, calls) in after {
        if !["evalsha", "info", "set", "get", "del"].contains(&name.as_str()) {
            assert_eq!(before.get(&name), Some(&calls), "{name}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_of_at_the_start() {
    let mut server = RedisServer::start();
    server.stop();
    let start = Instant::now();
    let error = RedisStore::connect(server.url()).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(start.elapsed() < SOON);
    let error = RedisStore::connect("http://127.0.0.1").await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("url"), "{error}");
}

/// Attack: none, but a hung store must not hang the handlers, nor let anything through.
#[tokio::test]
async fn a_paused_server_means_503_within_the_deadline_until_it_goes_on() {
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
    // The claims that nobody waited for reach it now, and are taken back.
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

/// What Linux says of the open connections to it: the fields of proc(5)'s `net/tcp`.
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

/// A machine that vanished says nothing, and an idle connection to it looks like any other: it is
/// probed within seconds, not after the two hours that are usual.
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
        // The timer that runs, and when it fires. What was sent last may not be acknowledged yet.
        let (timer, fires) = connection[5].split_once(':').unwrap();
        if timer == "02" {
            break u32::from_str_radix(fires, 16).unwrap();
        }
        assert!(start.elapsed() < SOON, "{connection:?}");
        sleep(Duration::from_millis(10)).await;
    };
    assert!(hundredths <= 500, "{hundredths}");
}

/// The server hangs when the handler is done: the sender gets its 200, the store learns of
/// it as soon as it hears.
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

#[tokio::test]
async fn a_server_that_was_killed_and_restarted_is_used_again() {
    let mut server = RedisServer::start();
    let runs = Runs::default();
    let app = app(
        IdempotencyLayer::new(impatient(&server).await),
        runs.handler(),
    );
    assert_eq!(send(&app, event("a")).await, RUN);
    server.stop();
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(send(&app, event("b")).await, STORE_UNAVAILABLE);
        assert!(start.elapsed() < SOON);
    }
    server.restart();
    let start = Instant::now();
    while send(&app, event("b")).await != RUN {
        assert!(start.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(send(&app, event("a")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);
}

/// Senders that repeat until they are told 200, while the server is paused, killed and
/// restarted again and again: each event is acted on, and none of them twice.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_and_outages_each_event_is_acted_on_once() {
    let mut server = RedisServer::start();
    let store = store(&server).await.deadline(Duration::from_millis(200));
    let runs: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = runs.clone();
    let handler = move |delivery: Delivery| async move {
        let id = delivery.event().unwrap().id.unwrap().to_string();
        *counted.lock().unwrap().entry(id).or_default() += 1;
        tokio::task::yield_now().await;
        StatusCode::OK
    };
    // Long enough that the completion of an event gets through after each outage.
    let app = app(
        IdempotencyLayer::new(store).lease(Duration::from_secs(8)),
        handler,
    );
    let next = Arc::new(AtomicU64::new(1));
    let stop = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..16 {
        let (app, next, stop) = (app.clone(), next.clone(), stop.clone());
        senders.spawn(async move {
            let mut sent = Vec::new();
            while stop.load(Ordering::SeqCst) == 0 {
                let id = next.fetch_add(1, Ordering::SeqCst);
                while send(&app, event(id)).await.0 != 200 {
                    sleep(Duration::from_millis(20)).await;
                }
                sent.push(id);
                sleep(Duration::from_millis(2)).await;
            }
            sent
        });
    }
    for round in 0..4 {
        sleep(Duration::from_millis(200)).await;
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
    sleep(Duration::from_millis(200)).await;
    stop.store(1, Ordering::SeqCst);
    let mut sent = Vec::new();
    while let Some(ids) = senders.join_next().await {
        sent.extend(ids.unwrap());
    }
    assert!(sent.len() > 50, "{}", sent.len());
    for id in sent {
        assert_eq!(runs.lock().unwrap()[&id.to_string()], 1, "event {id}");
        // The completion of one of the last may still be on its way.
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

/// Whoever gives up on a claim leaves nothing behind.
#[tokio::test]
async fn an_abandoned_claim_is_taken_back() {
    let server = RedisServer::start();
    let store = store(&server).await;
    load_scripts(&store).await;
    let key = Key::new("a");
    let lease = Duration::from_secs(3600);
    server.signal("STOP");
    let claim = tokio::time::timeout(Duration::from_millis(20), store.claim(&key, lease));
    assert!(claim.await.is_err());
    sleep(Duration::from_millis(50)).await;
    server.signal("CONT");
    let start = Instant::now();
    while !matches!(store.claim(&key, lease).await, Ok(Claim::Acquired(_))) {
        assert!(start.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!store.release(&key, Token::from(1)).await.unwrap());
}

#[tokio::test]
async fn printing_it_shows_no_address_and_no_password() {
    let server = RedisServer::start();
    let shown = format!("{:?}", impatient(&server).await.prefix("mine:"));
    assert_eq!(
        shown,
        r#"RedisStore { prefix: "mine:", deadline: 500ms, .. }"#
    );
}
