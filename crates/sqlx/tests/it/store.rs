//! `SqlxStore`, alone and together with `record`.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use soundhash_webhook::{
    idempotency::{Claim, IdempotencyStore, Key},
    testing::store_conformance,
};
use soundhash_webhook_sqlx::{Recorded, SqlxStore};
use tokio::time::sleep;

use crate::{
    fixture::{Fixture, delivery, log, record},
    on_both,
};

on_both!(
    the_store_conforms,
    a_completed_event_is_a_duplicate_to_record,
    a_handler_behind_the_layer_can_record,
    a_forgotten_event_that_a_store_holds_is_not_shown_as_forgotten,
    an_unavailable_database_is_an_error_within_the_deadline,
    a_claim_that_fails_is_an_error_without_a_panic,
);

const LEASE: Duration = Duration::from_mins(1);

async fn key(id: &str) -> Key {
    Key::from(&delivery(id).await)
}

async fn the_store_conforms<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    store_conformance(SqlxStore::new(log).deadline(LEASE)).await;
}

async fn a_completed_event_is_a_duplicate_to_record<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let (store, key) = (SqlxStore::new(log.clone()), key("a").await);
    let Claim::Acquired(token) = store.claim(&key, LEASE).await.unwrap() else {
        panic!("a new key cannot be claimed");
    };
    assert!(store.complete(&key, token, LEASE).await.unwrap());
    assert_eq!(
        record(&log, &delivery("a").await).await.unwrap(),
        Recorded::Duplicate
    );
}

async fn a_handler_behind_the_layer_can_record<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let (store, key) = (SqlxStore::new(log.clone()), key("a").await);
    let Claim::Acquired(token) = store.claim(&key, LEASE).await.unwrap() else {
        panic!("a new key cannot be claimed");
    };
    assert_eq!(
        record(&log, &delivery("a").await).await.unwrap(),
        Recorded::New
    );
    assert_eq!(
        record(&log, &delivery("a").await).await.unwrap(),
        Recorded::Duplicate
    );
    assert!(
        store
            .complete(&key, token, Duration::from_nanos(1))
            .await
            .unwrap()
    );
    sleep(Duration::from_millis(20)).await;
    // The retention period has ended, but the record remains.
    assert_eq!(store.claim(&key, LEASE).await.unwrap(), Claim::Completed);
    assert!(log.get(&key).await.unwrap().is_some());
}

async fn a_forgotten_event_that_a_store_holds_is_not_shown_as_forgotten<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let _ = record(&log, &delivery("a").await).await.unwrap();
    let (store, key) = (SqlxStore::new(log.clone()), key("a").await);
    assert!(store.forget(&key).await.unwrap());
    let is_forgotten = async || log.get(&key).await.unwrap().unwrap().summary.is_forgotten;
    assert!(is_forgotten().await);
    let Claim::Acquired(token) = store.claim(&key, LEASE).await.unwrap() else {
        panic!("a forgotten key cannot be claimed");
    };
    assert!(!is_forgotten().await);
    assert!(store.complete(&key, token, LEASE).await.unwrap());
    assert!(!is_forgotten().await);
}

async fn an_unavailable_database_is_an_error_within_the_deadline<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    let store = SqlxStore::new(log).deadline(LEASE);
    let impatient = store.clone().deadline(Duration::from_millis(300));
    // Occupies every connection in the pool.
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(pool.acquire().await.unwrap());
    }
    let error = impatient
        .claim(&key("a").await, LEASE)
        .await
        .expect_err("no connection");
    assert!(error.to_string().contains("did not reply"), "{error}");
    drop(taken);
    assert!(matches!(
        store.claim(&key("a").await, LEASE).await,
        Ok(Claim::Acquired(_))
    ));
}

async fn a_claim_that_fails_is_an_error_without_a_panic<DB: Fixture>() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Other tests panic on purpose, so only panics about a `JoinHandle` are counted.
        if info.to_string().contains("JoinHandle") {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        hook(info);
    }));
    let (_database, pool, log) = log::<DB>().await;
    let (store, key) = (SqlxStore::new(log), key("a").await);
    let [away, back] = [("soundhash_events", "away"), ("away", "soundhash_events")]
        .map(|(from, to)| &*format!("ALTER TABLE {from} RENAME TO {to}").leak());
    DB::run(&pool, away).await.unwrap();
    for _ in 0..5 {
        store.claim(&key, LEASE).await.unwrap_err();
    }
    DB::run(&pool, back).await.unwrap();
    // The failed claims are released in the background.
    sleep(Duration::from_millis(100)).await;
    let claim = store.claim(&key, LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Acquired(_)), "{claim:?}");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
