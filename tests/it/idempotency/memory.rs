//! `MemoryStore`: its capacity, memory and clock.

use std::time::Duration;

use proptest::prelude::*;
use soundhash_webhook::{
    idempotency::{Claim, ClaimToken, IdempotencyStore, Key, MemoryStore},
    testing::store_conformance,
};
use soundhash_webhook_tests::model;
use tokio::time::advance;

const HOUR: Duration = Duration::from_secs(3600);

async fn claim(store: &MemoryStore, key: &str) -> Claim {
    store.claim(&Key::new(key), HOUR).await.unwrap()
}

async fn token(store: &MemoryStore, key: &str) -> ClaimToken {
    match claim(store, key).await {
        Claim::Acquired(token) => token,
        other => panic!("{key}: {other:?}"),
    }
}

async fn complete(store: &MemoryStore, key: &str) {
    let token = token(store, key).await;
    assert!(store.complete(&Key::new(key), token, HOUR).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_conforms() {
    store_conformance(std::sync::Arc::new(MemoryStore::new(10_000))).await;
}

#[tokio::test]
async fn the_event_not_delivered_for_longest_is_evicted() {
    let store = MemoryStore::new(3);
    for key in ["a", "b", "c"] {
        complete(&store, key).await;
    }
    assert_eq!(claim(&store, "a").await, Claim::Completed);
    complete(&store, "d").await;
    for (key, remembered) in [("a", true), ("b", false), ("c", true), ("d", true)] {
        let claim = claim(&store, key).await;
        assert_eq!(claim == Claim::Completed, remembered, "{key}: {claim:?}");
    }
}

/// If claims were limited, the newest events in a burst would be rejected or forgotten.
#[tokio::test]
async fn claims_are_never_rejected_and_never_evicted() {
    let store = MemoryStore::new(2);
    let mut tokens = Vec::new();
    for key in 0..1000 {
        tokens.push(token(&store, &key.to_string()).await);
    }
    complete(&store, "x").await;
    for key in 0..1000 {
        assert_eq!(claim(&store, &key.to_string()).await, Claim::InProgress);
    }
    assert_eq!(claim(&store, "x").await, Claim::Completed);
    for (key, token) in tokens.into_iter().enumerate() {
        let key = Key::new(&key.to_string());
        assert!(store.complete(&key, token, HOUR).await.unwrap());
        assert_eq!(
            store.claim(&key, HOUR).await.unwrap(),
            Claim::Completed,
            "the newest event"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn memory_of_expired_claims_and_events_is_freed() {
    let store = MemoryStore::new(10_000);
    for key in 0..5000 {
        token(&store, &format!("abandoned {key}")).await;
        complete(&store, &format!("completed {key}")).await;
    }
    tokio::time::sleep(2 * HOUR).await;
    for key in 0..2500 {
        complete(&store, &format!("later {key}")).await;
    }
    token(&store, "the last one").await;
    for key in 0..9000 {
        token(&store, &format!("claim {key}")).await;
    }
    let shown = format!("{store:?}");
    assert!(shown.contains("completed: 2500"), "{shown}");
    assert!(shown.contains("claimed: 9001"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_duration_beyond_the_clock_lasts_for_30_years() {
    let store = MemoryStore::new(1);
    let (in_progress, done) = (Key::new("in progress"), Key::new("done"));
    store.claim(&in_progress, Duration::MAX).await.unwrap();
    let token = token(&store, "done").await;
    assert!(store.complete(&done, token, Duration::MAX).await.unwrap());
    advance((30 * 365 * 24 - 1) * HOUR).await;
    assert_eq!(claim(&store, "in progress").await, Claim::InProgress);
    assert_eq!(claim(&store, "done").await, Claim::Completed);
}

#[test]
#[should_panic(expected = "capacity must be greater than zero")]
fn a_capacity_of_zero_panics() {
    let _ = MemoryStore::new(0);
}

proptest! {
    #[test]
    fn the_memory_store_does_what_the_model_does(steps in model::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let name = |key: u8| Key::new(&key.to_string());
        let wait = |hours| advance(HOUR * hours);
        // The store has room for exactly three keys.
        let store = MemoryStore::new(3);
        runtime.block_on(model::compare(&store, async |key: &Key| store.forget(key), name, &steps, wait));
    }
}
