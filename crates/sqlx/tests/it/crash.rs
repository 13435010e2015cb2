//! Kills receivers and database servers while 64 copies of each event are being delivered. Each
//! event must take effect exactly once.
//!
//! `SOUNDHASH_WEBHOOK_CRASH_ROUNDS` sets the number of rounds of 500 events each, for the long run
//! in `.ci/deep crashes`. The default is one short round.

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use soundhash_webhook::{SIGNATURE_HEADER, Secret};
use soundhash_webhook_sqlx::EventLog;
use soundhash_webhook_tests::{postgres_server::PostgresServer, process::Receiver};
use sqlx::Postgres;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    child::{self, Handler, rand_below},
    fixture::{Fixture, SECRET, event},
    on_both,
};

const COPIES: usize = 64;
/// The number of events whose copies are sent at the same time.
const AT_ONCE: usize = 6;
/// The time within which an event must be accepted while processes are killed repeatedly.
const PATIENCE: Duration = Duration::from_mins(2);

/// Returns the number of rounds and the number of events per round.
fn size() -> (usize, usize) {
    match env::var("SOUNDHASH_WEBHOOK_CRASH_ROUNDS") {
        Ok(rounds) => (rounds.parse().expect("a number of rounds"), 500),
        Err(_) => (1, 40),
    }
}

/// The two receivers that are currently running.
type Receivers = Arc<Mutex<[Receiver; 2]>>;

fn start_two(url: &str, handler: Handler) -> Receivers {
    let start = || child::start(url, handler);
    Arc::new(Mutex::new([start(), start()]))
}

/// Replaces one of the receivers after a random delay.
async fn kill_at_random(receivers: &Receivers, database: &str, handler: Handler) {
    sleep(Duration::from_millis(100 + rand_below(1500))).await;
    let index = usize::try_from(rand_below(2)).expect("0 or 1");
    let (receivers, database) = (Arc::clone(receivers), database.to_owned());
    let restart = spawn_blocking(move || {
        // The next receiver starts first. The assignment then drops the old one, which kills it.
        let next = child::start(&database, handler);
        receivers.lock().expect("no panic")[index] = next;
    });
    restart.await.expect("a restart");
}

/// Sends all copies of the event, and retries each of them until it is accepted. Returns the number
/// of failed attempts.
async fn deliver_copies(client: &reqwest::Client, receivers: &Receivers, id: &str) -> usize {
    let body = event(id).to_string();
    let signature = Secret::new(SECRET).sign(body.as_bytes()).to_string();
    let mut copies = JoinSet::new();
    for copy in 0..COPIES {
        let (client, receivers) = (client.clone(), Arc::clone(receivers));
        let (body, signature) = (body.clone(), signature.clone());
        copies.spawn(async move {
            for failed in 0.. {
                let url = receivers.lock().expect("no panic")[(copy + failed) % 2].url();
                let request = client.post(url).header(SIGNATURE_HEADER, &signature);
                let response = request.body(body.clone()).send().await;
                match response.map(|response| response.status().as_u16()) {
                    Ok(200) => return failed,
                    Ok(503) | Err(_) => sleep(Duration::from_millis(20)).await,
                    Ok(status) => panic!("answered {status}"),
                }
            }
            unreachable!("the attempts do not end")
        });
    }
    let failed = timeout(PATIENCE, copies.join_all()).await;
    failed
        .expect("every copy is accepted in time")
        .into_iter()
        .sum()
}

/// Delivers events while running `disturb` repeatedly: at least `count`, and more until an attempt
/// has failed. Returns the ids of the events, how often `disturb` ran, and the number of failed
/// attempts.
async fn deliver_all<Fut>(
    receivers: &Receivers,
    round: usize,
    count: usize,
    mut disturb: impl FnMut() -> Fut,
) -> (Vec<String>, usize, usize)
where
    Fut: Future<Output = ()>,
{
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client");
    let started = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(AtomicUsize::new(0));
    let mut deliveries = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, receivers) = (client.clone(), Arc::clone(receivers));
        let (started, failed) = (Arc::clone(&started), Arc::clone(&failed));
        deliveries.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let number = started.fetch_add(1, Ordering::Relaxed);
                if number >= count && failed.load(Ordering::Relaxed) > 0 {
                    return ids;
                }
                assert!(number < 100 * count, "nothing is disturbed");
                let id = format!("{round:03}-{number:06}");
                let attempts = deliver_copies(&client, &receivers, &id).await;
                failed.fetch_add(attempts, Ordering::Relaxed);
                ids.push(id);
            }
        });
    }
    let delivered = tokio::spawn(deliveries.join_all());
    let mut disturbed = 0;
    while !delivered.is_finished() {
        disturb().await;
        disturbed += 1;
    }
    let ids = delivered.await.expect("no panic").concat();
    (ids, disturbed, failed.load(Ordering::Relaxed))
}

async fn assert_each_once<DB: Fixture>(url: &str, mut expected: Vec<String>) {
    let acted = DB::acted(&DB::pool(url, 1).await).await;
    // The key ends with the id.
    let mut acted: Vec<String> = acted
        .iter()
        .map(|key| key[key.len() - "000-000000".len()..].to_owned())
        .collect();
    acted.sort();
    expected.sort();
    assert_eq!(acted, expected);
}

/// Kills both receivers repeatedly. Returns the number of failed attempts.
async fn kill_receivers<DB: Fixture>(url: &str, handler: Handler) -> usize {
    DB::prepare(&DB::pool(url, 1).await).await;
    let (rounds, count) = size();
    let receivers = start_two(url, handler);
    let (mut expected, mut all_failed) = (Vec::new(), 0);
    for round in 0..rounds {
        let start = Instant::now();
        let kill = || kill_at_random(&receivers, url, handler);
        let (ids, killed, failed) = deliver_all(&receivers, round, count, kill).await;
        expected.extend(ids);
        let took = start.elapsed();
        println!("round {round}: {killed} receivers killed, {failed} attempts failed, {took:.1?}");
        assert_each_once::<DB>(url, expected.clone()).await;
        all_failed += failed;
    }
    all_failed
}

on_both!(each_event_is_handled_once_when_receivers_are_killed);

async fn each_event_is_handled_once_when_receivers_are_killed<DB: Fixture>() {
    for handler in [Handler::Record, Handler::Accept] {
        let database = DB::create().await;
        kill_receivers::<DB>(&DB::url(&database), handler).await;
    }
}

/// The receivers pause for up to 7 ms between their statements, so Postgres ends some of their
/// transactions. `accept` is not tested here, because it has a single statement.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_handled_once_when_postgres_ends_idle_transactions() {
    let server = Arc::new(PostgresServer::start());
    let pool = Postgres::pool(&server.url(), 1).await;
    // The timeout set below must not interrupt the migration.
    EventLog::new(pool.clone())
        .migrate()
        .await
        .expect("a table");
    let limit = "ALTER ROLE test SET idle_in_transaction_session_timeout = '6ms'";
    Postgres::run(&pool, limit).await.expect("a limit");
    let ended = {
        let server = Arc::clone(&server);
        move || server.log().matches("idle-in-transaction timeout").count()
    };
    // The timeout is removed after 50 ended transactions. Otherwise, on a busy machine, every
    // transaction would time out, and none would ever commit.
    let lift = tokio::spawn({
        let ended = ended.clone();
        async move {
            while ended() < 50 {
                sleep(Duration::from_millis(100)).await;
            }
            let reset = "ALTER ROLE test RESET idle_in_transaction_session_timeout";
            Postgres::run(&pool, reset).await.expect("no limit");
        }
    });
    let failed = kill_receivers::<Postgres>(&server.url(), Handler::Record).await;
    lift.abort();
    let ended = ended();
    println!("{ended} transactions ended by Postgres, {failed} attempts failed");
    assert!(ended > 0, "nothing was disturbed");
}

/// Kills the server and all of its processes, or shuts it down abruptly, and restarts it.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_handled_once_when_postgres_restarts() {
    for handler in [Handler::Record, Handler::Accept] {
        restart_postgres(handler).await;
    }
}

async fn restart_postgres(handler: Handler) {
    let server = Arc::new(Mutex::new(PostgresServer::start()));
    let url = server.lock().unwrap().url();
    Postgres::prepare(&Postgres::pool(&url, 1).await).await;
    let (rounds, count) = size();
    let receivers = start_two(&url, handler);
    let mut expected = Vec::new();
    for round in 0..rounds {
        let (start, restarted) = (Instant::now(), AtomicUsize::new(0));
        let (ids, _, failed) = deliver_all(&receivers, round, count, || async {
            sleep(Duration::from_millis(300 + rand_below(700))).await;
            let server = Arc::clone(&server);
            let count = restarted.fetch_add(1, Ordering::Relaxed);
            let signal = ["QUIT", "KILL", "INT"][count % 3];
            let restart = spawn_blocking(move || server.lock().unwrap().restart(signal));
            restart.await.expect("a restart");
            sleep(Duration::from_secs(1)).await;
        })
        .await;
        expected.extend(ids);
        let restarted = restarted.into_inner();
        let took = start.elapsed();
        println!("round {round}: {restarted} restarts, {failed} attempts failed, {took:.1?}");
        assert_each_once::<Postgres>(&url, expected.clone()).await;
    }
}
