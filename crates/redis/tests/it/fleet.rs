//! Tests the `fleet` example: several processes share a Redis server, and one of them is killed.

use std::{
    collections::HashSet,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use redis::cmd;
use reqwest::Client;
use serde_json::Value;
use soundhash_webhook::SIGNATURE_HEADER;
use soundhash_webhook_tests::{
    idempotency::body,
    process::{Process, Receiver, example},
    redis_server::RedisServer,
    requests::sign,
};
use tokio::{task::JoinSet, time::sleep};

const PATIENCE: Duration = Duration::from_secs(30);

fn fleet(server: &RedisServer, variables: &[(&str, &str)]) -> Receiver {
    let url = server.url();
    let redis = ("SOUNDHASH_WEBHOOK_REDIS", url.as_str());
    Receiver::of("fleet", &[&[redis], variables].concat())
}

/// Waits until a process has claimed an event.
async fn claimed(server: &RedisServer) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let start = Instant::now();
    while cmd("DBSIZE")
        .query_async::<u64>(&mut connection)
        .await
        .unwrap()
        == 0
    {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
}

/// Sends an event. Returns the status, and whether the response marks the event as a duplicate.
async fn post(client: &Client, url: &str, id: u64) -> reqwest::Result<(StatusCode, bool)> {
    let body = body(id);
    let request = client
        .post(url)
        .header(SIGNATURE_HEADER, sign(body.as_bytes()));
    let response = request.body(body).send().await?;
    let replayed = response.headers().contains_key("idempotent-replayed");
    Ok((response.status(), replayed))
}

/// Sends the event until the status is 200, and returns whether it was a duplicate.
async fn replayed(client: &Client, url: &str, id: u64) -> bool {
    let start = Instant::now();
    loop {
        match post(client, url, id).await.unwrap() {
            (StatusCode::OK, replayed) => return replayed,
            (status, _) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        }
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
}

fn id(line: &str) -> u64 {
    let event: Value = serde_json::from_str(line).unwrap();
    event["id"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_handle_each_of_1000_events_once() {
    const EVENTS: u64 = 1000;
    let server = RedisServer::start();
    let processes = [fleet(&server, &[]), fleet(&server, &[])];
    // The processes close a connection after it has been idle for 10 s. The client gives up idle
    // connections sooner, so that none is closed while a request is being sent on it.
    let idle = Duration::from_secs(5);
    let client = Client::builder().pool_idle_timeout(idle).build().unwrap();
    let mut late = 0;
    for batch in (1..=EVENTS).collect::<Vec<_>>().chunks(4) {
        let mut copies = JoinSet::new();
        for id in batch {
            for copy in 0..64 {
                let (client, id, url) = (client.clone(), *id, processes[copy % 2].url());
                copies.spawn(async move { post(&client, &url, id).await.unwrap() });
            }
        }
        let mut handled = 0;
        while let Some(answer) = copies.join_next().await {
            let (status, replayed) = answer.unwrap();
            assert!([200, 503].contains(&status.as_u16()), "{status}");
            handled += usize::from(status == 200 && !replayed);
        }
        // If the store was too slow for every copy of an event, the event is sent again, as
        // SoundHash would do.
        late += batch.len() - handled;
        for id in batch {
            handled += usize::from(!replayed(&client, &processes[0].url(), *id).await);
        }
        assert_eq!(handled, batch.len());
    }
    assert!(late < 100, "{late}");
    let mut printed = Vec::new();
    for process in processes {
        process.signal("TERM");
        let (status, lines, _) = process.ended();
        assert!(status.success());
        assert!(!lines.is_empty(), "a process that did nothing");
        printed.extend(lines.iter().map(|line| id(line)));
    }
    assert_eq!(printed.len() as u64, EVENTS);
    assert_eq!(
        printed.into_iter().collect::<HashSet<_>>().len() as u64,
        EVENTS
    );
}

/// The killed process cannot release its event, so its lease has to expire before the retry can
/// run.
#[tokio::test]
async fn when_a_process_is_killed_while_it_works_the_retry_runs_on_another() {
    let server = RedisServer::start();
    let lease = ("SOUNDHASH_WEBHOOK_LEASE_SECS", "5");
    let slow = fleet(&server, &[lease, ("SOUNDHASH_WEBHOOK_HANDLER_MS", "60000")]);
    let other = fleet(&server, &[lease]);
    let client = Client::new();
    let (url, first) = (slow.url(), client.clone());
    let first = tokio::spawn(async move { post(&first, &url, 7).await });
    claimed(&server).await;
    let (status, _) = post(&client, &other.url(), 7).await.unwrap();
    assert_eq!(status, 503);
    slow.signal("KILL");
    assert!(
        first.await.unwrap().is_err(),
        "the killed process does not respond"
    );
    let (status, lines, _) = slow.ended();
    assert!(!status.success());
    assert_eq!(lines, [] as [&str; 0]);

    assert!(!replayed(&client, &other.url(), 7).await);
    assert_eq!(id(&other.line()), 7);
    assert_eq!(
        post(&client, &other.url(), 7).await.unwrap(),
        (StatusCode::OK, true)
    );
}

/// Attack: repeat a recorded delivery, and hang up each time while the handler runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_does_not_keep_an_event_from_being_completed() {
    let server = RedisServer::start();
    let fleet = fleet(&server, &[("SOUNDHASH_WEBHOOK_HANDLER_MS", "1000")]);
    let url = fleet.url();
    let attack = tokio::spawn(async move {
        let impatient = Client::builder().timeout(Duration::from_millis(500));
        let impatient = impatient.build().unwrap();
        loop {
            let _ = post(&impatient, &url, 1).await;
        }
    });
    claimed(&server).await;
    assert!(replayed(&Client::new(), &fleet.url(), 1).await);
    attack.abort();
    assert_eq!(id(&fleet.line()), 1);
    fleet.signal("TERM");
    assert_eq!(fleet.ended().1, [] as [&str; 0]);
}

/// A graceful shutdown completes the event that is in progress.
#[tokio::test]
async fn a_process_that_is_asked_to_stop_finishes_its_work() {
    let server = RedisServer::start();
    let leaving = fleet(&server, &[("SOUNDHASH_WEBHOOK_HANDLER_MS", "1000")]);
    let staying = fleet(&server, &[]);
    let client = Client::new();
    let (url, first) = (leaving.url(), client.clone());
    let first = tokio::spawn(async move { post(&first, &url, 7).await });
    claimed(&server).await;
    leaving.signal("TERM");
    assert_eq!(first.await.unwrap().unwrap(), (StatusCode::OK, false));
    let (status, lines, _) = leaving.ended();
    assert!(status.success());
    assert_eq!(lines.len(), 1);
    assert_eq!(
        post(&client, &staying.url(), 7).await.unwrap(),
        (StatusCode::OK, true)
    );
}

/// If a server refuses connections, the error names it without its password. If a server does not
/// respond, the process still exits on a signal.
#[test]
fn an_unavailable_server_is_named_or_abandoned() {
    let program = |url: &str| {
        let mut program = Command::new(example("fleet"));
        program
            .env("SOUNDHASH_WEBHOOK_REDIS", url)
            .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0");
        program
    };
    let output = program("redis://:hunter2@127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    let error = "SOUNDHASH_WEBHOOK_REDIS: cannot connect to \"redis://***@127.0.0.1:1\": ";
    assert!(log.contains(error) && log.contains("refused"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let waiting = Process::start(&mut program(&url));
    silent.accept().unwrap();
    waiting.signal("INT");
    let (status, _, log) = waiting.ended();
    assert!(status.success(), "{log}");
}
