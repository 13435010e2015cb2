//! Kills receivers, workers and Postgres at random times under load.
//!
//! `SOUNDHASH_WEBHOOK_CRASH_EVENTS` sets the number of events (1,000 in `.ci/deep crashes`).

use std::{
    collections::HashSet,
    env,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use soundhash_webhook_tests::{postgres_server::PostgresServer, requests};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use crate::support::{SECRET, acted, acted_in_time, event, start, start_worker};

fn rand_below(limit: u64) -> u64 {
    RandomState::new().hash_one(0) % limit
}

#[tokio::test(flavor = "multi_thread")]
async fn each_accepted_event_is_handled_once_when_processes_are_killed() {
    let count = env::var("SOUNDHASH_WEBHOOK_CRASH_EVENTS");
    let count: usize = count.map_or(150, |count| count.parse().expect("a number"));
    let mut postgres = PostgresServer::start();
    let url = postgres.url();
    let receiver = Arc::new(Mutex::new(start("receive", &url)));
    let mut worker = start_worker(&url);

    let accepted = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let (receiver, accepted) = (Arc::clone(&receiver), Arc::clone(&accepted));
        senders.spawn(async move {
            for number in (0..count).filter(|number| number % 8 == sender) {
                let event = event(&format!("event-{number:05}"));
                loop {
                    let url = receiver.lock().unwrap().url();
                    match requests::deliver(&url, SECRET, &event).await {
                        Some(200 | 202) => break,
                        Some(503) | None => sleep(Duration::from_millis(50)).await,
                        Some(status) => panic!("status {status}"),
                    }
                }
                accepted.fetch_add(1, Ordering::Relaxed);
                // Pauses, so that the load continues while processes are killed.
                sleep(Duration::from_millis(rand_below(100))).await;
            }
        });
    }
    let mut killed = [0; 3];
    while accepted.load(Ordering::Relaxed) < count {
        sleep(Duration::from_millis(200 + rand_below(600))).await;
        let which = usize::try_from(rand_below(3)).unwrap();
        killed[which] += 1;
        let (url, receiver) = (url.clone(), Arc::clone(&receiver));
        match which {
            0 => {
                let restart = move || {
                    receiver.lock().unwrap().signal("KILL");
                    let next = start("receive", &url);
                    *receiver.lock().unwrap() = next;
                };
                spawn_blocking(restart).await.unwrap();
            }
            1 => {
                worker.signal("KILL");
                worker = spawn_blocking(move || start_worker(&url)).await.unwrap();
            }
            _ => {
                let signal = ["KILL", "QUIT", "INT"][killed[2] % 3];
                postgres = spawn_blocking(move || {
                    postgres.restart(signal);
                    postgres
                })
                .await
                .unwrap();
            }
        }
    }
    senders.join_all().await;
    println!("killed {killed:?} (receiver, worker, Postgres) for {count} events");

    let acted_on = acted_in_time(&url, count).await;
    // After this time, all dead workers have been detected, and no job can run again.
    sleep(Duration::from_secs(30)).await;
    assert_eq!(acted(&url).await, acted_on);
    let ids: HashSet<&str> = acted_on
        .iter()
        .map(|(key, _)| &key[key.len() - 11..])
        .collect();
    let expected: Vec<String> = (0..count)
        .map(|number| format!("event-{number:05}"))
        .collect();
    assert_eq!(ids, expected.iter().map(String::as_str).collect());
    assert_eq!(acted_on.len(), count);
    drop(worker);
}
