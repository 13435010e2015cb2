//! Measures the idempotency stores without a receiver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use soundhash_webhook::idempotency::{Claim, IdempotencyStore, Key};
use soundhash_webhook_redis::RedisStore;
use soundhash_webhook_sqlx::{Backend, EventFilter, EventLog, SqlxStore};
use tokio::task::JoinSet;

use crate::{
    CONNECTIONS, TIME,
    sender::NUMBER,
    way::{postgres, sqlite},
};

const LEASE: Duration = Duration::from_hours(1);

/// Returns the number of events claimed and completed per second.
async fn rate(store: Arc<impl IdempotencyStore>, at_once: u32) -> f64 {
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut handlers = JoinSet::new();
    for _ in 0..at_once {
        let (store, count) = (Arc::clone(&store), Arc::clone(&count));
        handlers.spawn(async move {
            while start.elapsed() < TIME {
                let key = Key::new(&format!("t{:022}", NUMBER.fetch_add(1, Ordering::Relaxed)));
                let Ok(Claim::Acquired(token)) = store.claim(&key, LEASE).await else {
                    panic!("a new key cannot be claimed");
                };
                let completed = store.complete(&key, token, LEASE).await;
                assert!(completed.expect("a completion"));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    handlers.join_all().await;
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn measure(name: &str, store: impl IdempotencyStore) {
    let store = Arc::new(store);
    let alone = rate(Arc::clone(&store), 1).await;
    let together = rate(store, CONNECTIONS).await;
    println!(
        "| {name} | {alone:.0} | {together:.0} | {:.1} |",
        together / alone
    );
}

async fn measure_log<DB: Backend>(name: &str, log: EventLog<DB>) {
    log.migrate().await.expect("a table");
    measure(name, SqlxStore::new(log)).await;
}

/// Prints how fast the events of a filled log are listed and purged.
async fn maintain<DB: Backend>(name: &str, log: EventLog<DB>) {
    let start = Instant::now();
    let listed = log.list(&EventFilter::new()).await.expect("a list");
    let list = start.elapsed();
    let start = Instant::now();
    let purged = log.purge(SystemTime::now()).await.expect("a purge");
    let per_second = purged as f64 / start.elapsed().as_secs_f64();
    println!(
        "{name}: the last {} of {purged} events are listed in {list:.1?}, and {per_second:.0} \
         events are purged per second",
        listed.len()
    );
}

/// Prints the figures for the stores, and for the logs that the `accept` measurements have filled.
pub(crate) async fn run(redis: &str, postgres_url: &str, sqlite_file: &str) {
    println!("\n| claim and complete per second | 1 at a time | {CONNECTIONS} at a time | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    let store = RedisStore::connect(redis.to_owned()).await;
    measure("`RedisStore`", store.expect("Redis")).await;
    let (postgres, sqlite) = (postgres(postgres_url).await, sqlite(sqlite_file).await);
    measure_log("`SqlxStore`, Postgres", postgres.clone()).await;
    measure_log("`SqlxStore`, SQLite", sqlite.clone()).await;
    println!();
    maintain("Postgres", postgres).await;
    maintain("SQLite", sqlite).await;
}
