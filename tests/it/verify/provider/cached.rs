//! `CachedSecrets`: which lookups run, and how the cost of invented names is limited.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::request::Parts;
use soundhash_webhook::{
    BoxError, CachedSecrets, Delivery, RejectionKind, SecretLookup, SecretProvider, Secrets,
    SoundHashWebhookLayer,
};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, yield_now},
    time::{Instant, sleep},
};
use tower::ServiceExt;

use super::request;
use crate::support::{BODY, echo, outcome};

/// A database with an endpoint for every name that starts with `real`, whose secret is the name.
#[derive(Clone)]
struct Database(Arc<Inner>);

struct Inner {
    looked_up: Mutex<Vec<String>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    /// The permits for lookups of invented names and of `real-slow`.
    permits: Semaphore,
}

impl Database {
    fn new(permits: usize) -> Self {
        Self(Arc::new(Inner {
            looked_up: Mutex::default(),
            running: AtomicUsize::default(),
            most_running: AtomicUsize::default(),
            permits: Semaphore::new(permits),
        }))
    }

    /// Returns a database that responds immediately.
    fn fast() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }

    fn looked_up(&self, name: &str) -> usize {
        let looked_up = self.0.looked_up.lock().unwrap();
        looked_up.iter().filter(|it| *it == name).count()
    }

    fn running(&self) -> usize {
        self.0.running.load(Ordering::SeqCst)
    }
}

/// Counts a lookup as running until it ends or is dropped.
struct Running<'a>(&'a Inner);

impl<'a> Running<'a> {
    fn start(inner: &'a Inner) -> Self {
        let running = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most_running.fetch_max(running, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SecretLookup for Database {
    fn name<'a>(&self, head: &'a Parts) -> Option<Cow<'a, str>> {
        head.uri.path().strip_prefix("/webhooks/").map(Into::into)
    }

    async fn lookup(&self, name: &str) -> Result<Option<Secrets>, BoxError> {
        let _running = Running::start(&self.0);
        self.0.looked_up.lock().unwrap().push(name.to_owned());
        yield_now().await;
        if !name.starts_with("real") || name == "real-slow" {
            self.0.permits.acquire().await?.forget();
        }
        match name {
            "real-broken" => Err("the database is away".into()),
            "real-panic" => panic!("a bug in the lookup"),
            "real-rotated" => {
                // The first lookup reads the old secret, and takes a long time.
                let is_first = self.looked_up(name) == 1;
                if is_first {
                    sleep(Duration::from_secs(9)).await;
                }
                Ok(Some(Secrets::new(if is_first { "old" } else { "new" })))
            }
            "real-named" => Ok(Some(Secrets::new(name).endpoint("customer 7"))),
            _ if name.starts_with("real") => Ok(Some(Secrets::new(name))),
            _ => Ok(None),
        }
    }
}

fn head(name: &str) -> Parts {
    request(name, name).into_parts().0
}

async fn known(cache: &CachedSecrets<Database>, name: &str) -> bool {
    cache.secrets(&head(name)).await.unwrap().is_some()
}

/// Runs the other tasks until `condition` is true.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn cached_secrets_need_neither_a_lookup_nor_waiting() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    assert!(cache.cached(&head("real-1")).is_none());
    assert!(known(&cache, "real-1").await);
    for _ in 0..1_000 {
        assert!(cache.cached(&head("real-1")).is_some());
        assert!(cache.clone().cached(&head("real-1")).is_some());
    }
    assert_eq!(database.looked_up("real-1"), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_share_a_lookup() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    let mut requests = JoinSet::new();
    for name in ["real-slow", "invented"].repeat(50) {
        let cache = cache.clone();
        requests.spawn(async move { known(&cache, name).await });
    }
    until(|| database.running() == 2).await;
    database.0.permits.add_permits(2);
    let found = requests.join_all().await;
    assert_eq!(found.iter().filter(|it| **it).count(), 50);
    assert_eq!(database.looked_up("real-slow"), 1);
    assert_eq!(database.looked_up("invented"), 1);
}

/// Attack: start lookups for an honest endpoint and hang up, so that its lookup keeps starting
/// over.
#[tokio::test]
async fn dropped_requests_do_not_restart_the_lookup_of_another() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    let request = |cache: &Arc<CachedSecrets<Database>>| {
        let cache = cache.clone();
        tokio::spawn(async move { known(&cache, "real-slow").await })
    };
    let attackers: Vec<_> = (0..300).map(|_| request(&cache)).collect();
    until(|| database.running() == 1).await;
    let honest = request(&cache);
    yield_now().await;
    for attacker in attackers {
        attacker.abort();
        assert!(attacker.await.unwrap_err().is_cancelled());
        yield_now().await;
    }
    assert_eq!(
        (database.looked_up("real-slow"), database.running()),
        (1, 1)
    );
    database.0.permits.add_permits(1);
    assert!(honest.await.unwrap());
    assert_eq!(database.looked_up("real-slow"), 1);
}

/// Attack: start lookups and hang up, so that the database works on many of them at a time.
#[tokio::test(start_paused = true)]
async fn dropped_requests_start_no_more_lookups_than_others() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()).max_lookups(4));
    let drop_request = async |name: &str| {
        let (cache, head) = (cache.clone(), head(name));
        let request = tokio::spawn(async move { cache.secrets(&head).await });
        sleep(Duration::from_millis(1)).await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
    };
    for i in 0..100 {
        drop_request(&format!("invented-{i}")).await;
        drop_request("real-slow").await;
    }
    assert_eq!(database.0.looked_up.lock().unwrap().len(), 2);
    assert_eq!(database.running(), 2);

    // What such a lookup finds is cached, too, and others can run.
    database.0.permits.add_permits(2);
    until(|| database.running() == 0).await;
    assert!(cache.cached(&head("real-slow")).is_some());
    assert!(!known(&cache, "invented-0").await);
    assert_eq!(database.0.looked_up.lock().unwrap().len(), 2);
    assert!(known(&cache, "real-1").await);
}

/// A lookup that hangs does not keep its place once its requests have been dropped.
#[tokio::test(start_paused = true)]
async fn a_lookup_without_requests_is_cancelled_after_a_while() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()).max_lookups(1));
    for looked_up in 1..=3 {
        let request = tokio::spawn({
            let cache = cache.clone();
            async move { known(&cache, "real-slow").await }
        });
        until(|| database.running() == 1).await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        sleep(Duration::from_millis(4_900)).await;
        assert_eq!(database.running(), 1);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(database.running(), 0);
        assert_eq!(database.looked_up("real-slow"), looked_up);
    }
    // The permit has been returned, so another lookup can run.
    assert!(known(&cache, "real-1").await);
}

/// A lookup that hangs, for example on a dead connection, does not keep later requests waiting.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_is_not_joined_forever() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    let mut requests = JoinSet::new();
    for looked_up in [1, 1, 2] {
        let cache = cache.clone();
        requests.spawn(async move { known(&cache, "real-slow").await });
        sleep(Duration::from_secs(3)).await;
        assert_eq!(database.looked_up("real-slow"), looked_up);
    }
    database.0.permits.add_permits(2);
    assert_eq!(requests.join_all().await, [true; 3]);
}

/// A lookup that is overtaken by a newer one does not replace the newer one's secrets in the cache.
#[tokio::test(start_paused = true)]
async fn an_overtaken_lookup_is_not_cached() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    let layer = SoundHashWebhookLayer::with_provider(cache.clone());
    let service = echo(layer.lookup_timeout(Duration::from_secs(20)));
    let old = tokio::spawn(service.clone().oneshot(request("real-rotated", "old")));
    sleep(Duration::from_secs(6)).await;
    assert!(known(&cache, "real-rotated").await);
    let Ok(response) = old.await.unwrap();
    let delivery = response.extensions().get::<Delivery>().unwrap();
    assert_eq!(delivery.endpoint(), Some("real-rotated"));
    let new = outcome(service, request("real-rotated", "new")).await;
    assert!(new.is_ok());
    assert_eq!(database.looked_up("real-rotated"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_an_error_for_all_requests_that_share_it() {
    let cache = Arc::new(CachedSecrets::new(Database::fast()));
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let cache = cache.clone();
        requests.spawn(async move { cache.secrets(&head("real-panic")).await.map(drop) });
    }
    for found in requests.join_all().await {
        assert_eq!(found.unwrap_err().to_string(), "the lookup panicked");
    }
}

#[tokio::test]
async fn a_failure_is_not_cached_and_keeps_its_message() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    for looked_up in 1..=3 {
        let error = cache.secrets(&head("real-broken")).await.unwrap_err();
        assert_eq!(error.to_string(), "the database is away");
        assert_eq!(database.looked_up("real-broken"), looked_up);
    }
    let layer = SoundHashWebhookLayer::with_provider(cache);
    let failed = outcome(echo(layer), request("real-broken", "real-broken")).await;
    assert_eq!(failed, Err(RejectionKind::SecretsUnavailable));
}

#[tokio::test]
async fn an_entry_is_looked_up_again_after_its_time_to_live() {
    let database = Database::fast();
    let time = Duration::from_millis(20);
    let cache = Arc::new(
        CachedSecrets::new(database.clone())
            .time_to_live(time)
            .negative_time_to_live(time),
    );
    for looked_up in 1..=3 {
        assert!(known(&cache, "real-1").await);
        assert!(!known(&cache, "invented").await);
        assert_eq!(database.looked_up("real-1"), looked_up);
        assert_eq!(database.looked_up("invented"), looked_up);
        sleep(2 * time).await;
        assert!(cache.cached(&head("real-1")).is_none());
    }
}

#[tokio::test]
async fn an_unknown_name_is_remembered_for_the_negative_time_to_live() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()).time_to_live(Duration::ZERO));
    for looked_up in 1..=3 {
        assert!(known(&cache, "real-1").await);
        assert!(!known(&cache, "invented").await);
        assert_eq!(database.looked_up("real-1"), looked_up);
        assert_eq!(database.looked_up("invented"), 1);
    }
}

#[tokio::test]
async fn setters_keep_what_other_setters_set() {
    let database = Database::fast();
    let cache = Arc::new(
        CachedSecrets::new(database.clone())
            .negative_time_to_live(Duration::ZERO)
            .time_to_live(Duration::MAX)
            .capacity(10)
            .max_lookups(usize::MAX),
    );
    for _ in 0..2 {
        assert!(known(&cache, "real-1").await);
        assert!(!known(&cache, "invented").await);
    }
    assert_eq!(database.looked_up("real-1"), 1);
    assert_eq!(database.looked_up("invented"), 2);
    assert!(format!("{cache:?}").contains("capacity: 10"));
}

#[test]
#[should_panic(expected = "max_lookups must be greater than zero")]
fn zero_lookups_at_a_time_panics() {
    let _ = CachedSecrets::new(Database::fast()).max_lookups(0);
}

/// Attack: invent names and repeat them, so that they seem more popular than the endpoints' names.
#[tokio::test]
async fn invented_names_do_not_evict_endpoints() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()).capacity(100));
    let endpoints: Vec<_> = (0..50).map(|i| format!("real-{i}")).collect();
    for name in &endpoints {
        assert!(known(&cache, name).await);
    }
    for i in 0..5_000 {
        for _ in 0..3 {
            assert!(!known(&cache, &format!("invented-{}", i / 2)).await);
        }
    }
    for name in &endpoints {
        assert!(cache.cached(&head(name)).is_some(), "{name}");
        assert_eq!(database.looked_up(name), 1);
    }
}

/// Attack: keep the database busy with invented names.
#[tokio::test]
async fn invented_names_neither_flood_the_database_nor_keep_endpoints_from_it() {
    let database = Database::new(0);
    let cache = Arc::new(
        CachedSecrets::new(database.clone())
            .time_to_live(Duration::ZERO)
            .max_lookups(4),
    );
    assert!(known(&cache, "real-1").await);

    let mut attack = JoinSet::new();
    for i in 0..50 {
        let cache = cache.clone();
        attack.spawn(async move { known(&cache, &format!("invented-{i}")).await });
    }
    until(|| database.running() == 2).await;
    // The entry for `real-1` has expired, so it has to be looked up again, in competition with many
    // invented names.
    for looked_up in 2..=20 {
        assert!(known(&cache, "real-1").await);
        assert_eq!(database.looked_up("real-1"), looked_up);
    }
    assert_eq!(database.running(), 2);

    database.0.permits.add_permits(50);
    assert_eq!(attack.join_all().await, [false; 50]);
    assert!(database.0.most_running.load(Ordering::SeqCst) <= 4);
    // The permits have been returned, so another lookup can run.
    assert!(known(&cache, "real-2").await);
}

/// Attack: invent names faster than they can be looked up, so that their queue grows.
#[tokio::test]
async fn an_endpoint_that_is_looked_up_for_the_first_time_does_not_wait_for_older_names() {
    let database = Database::new(0);
    let cache = Arc::new(CachedSecrets::new(database.clone()).max_lookups(2));
    let start = |name: String| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.secrets(&head(&name)).await })
    };
    let first = start("invented".to_owned());
    until(|| database.running() == 1).await;
    let mut attack = Vec::new();
    for i in 0..100 {
        attack.push(start(format!("invented-{i}")));
        yield_now().await;
    }
    // The queue is bounded, so the oldest names fail.
    assert!(attack.remove(0).await.unwrap().is_err());
    let newest = start("invented-newest".to_owned());
    yield_now().await;
    newest.abort();
    assert!(newest.await.unwrap_err().is_cancelled());
    let honest = start("real-1".to_owned());
    yield_now().await;
    database.0.permits.add_permits(1);
    assert!(first.await.unwrap().unwrap().is_none());
    assert!(honest.await.unwrap().unwrap().is_some());
    let looked_up = database.0.looked_up.lock().unwrap().clone();
    assert_eq!(looked_up[..2], ["invented", "real-1"]);
    database.0.permits.add_permits(100);
    for request in attack {
        let _ = request.await.unwrap();
    }
    assert!(known(&cache, "real-2").await);
}

/// Attack: invent names to page the operator of a database that works.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_waits_for_too_many_others_is_no_failure_of_the_database() {
    let database = Database::new(0);
    let cache = CachedSecrets::new(database.clone()).max_lookups(2);
    let service = echo(SoundHashWebhookLayer::with_provider(cache));
    let start = |name: &str| tokio::spawn(outcome(service.clone(), request(name, "forged")));
    let running = start("invented");
    until(|| database.running() == 1).await;
    let names: Vec<String> = (0..65).map(|i| format!("invented-{i}")).collect();
    let mut waiting = Vec::new();
    for name in &names {
        waiting.push(start(name));
        yield_now().await;
    }
    // 64 newer names wait.
    let begin = Instant::now();
    let too_many = Err(RejectionKind::TooManyLookups);
    assert_eq!(waiting.remove(0).await.unwrap(), too_many);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // The others leave a second for the lookup itself.
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), too_many);
    }
    assert_eq!(begin.elapsed().as_secs(), 4);
    let failed = Err(RejectionKind::SecretsUnavailable);
    assert_eq!(running.await.unwrap(), failed);
}

/// Attack: invent names while an endpoint has never been looked up.
#[tokio::test]
async fn an_inserted_endpoint_does_not_compete_with_invented_names() {
    let database = Database::new(1);
    let cache = CachedSecrets::new(database.clone()).time_to_live(Duration::from_secs(1));
    let cache = Arc::new(cache.max_lookups(2));
    assert!(!known(&cache, "invented").await);
    cache.insert("real-1", Secrets::new("real-1"));
    cache.insert("invented", Secrets::new("invented"));
    let mut attack = JoinSet::new();
    for i in 0..100 {
        let cache = cache.clone();
        attack.spawn(async move { cache.secrets(&head(&format!("invented-{i}"))).await });
    }
    until(|| database.running() == 1).await;
    assert!(cache.cached(&head("invented")).is_some());
    // Once the entry has expired, the endpoint is looked up again.
    until(|| cache.cached(&head("real-1")).is_none()).await;
    assert!(known(&cache, "real-1").await);
    assert_eq!(database.looked_up("real-1"), 1);
    attack.abort_all();
}

/// A lookup that has read an old secret does not replace a newer one.
#[tokio::test(start_paused = true)]
async fn an_inserted_secret_is_not_replaced_by_a_running_lookup() {
    let cache = Arc::new(CachedSecrets::new(Database::fast()));
    let old = tokio::spawn({
        let cache = cache.clone();
        async move { known(&cache, "real-rotated").await }
    });
    sleep(Duration::from_secs(1)).await;
    cache.insert("real-rotated", Secrets::new("new"));
    assert!(old.await.unwrap());
    let layer = SoundHashWebhookLayer::with_provider(cache);
    let new = outcome(echo(layer), request("real-rotated", "new")).await;
    assert!(new.is_ok());
}

/// Attack: fill the cache with names as long as the head allows.
#[tokio::test]
async fn a_name_of_more_than_256_bytes_is_not_looked_up() {
    let database = Database::fast();
    let cache = Arc::new(CachedSecrets::new(database.clone()));
    let longest = format!("real-{}", "x".repeat(251));
    assert!(known(&cache, &longest).await);
    let longer = format!("{longest}x");
    assert!(!known(&cache, &longer).await);
    assert!(cache.cached(&head(&longer)).is_none());
    assert_eq!(database.looked_up(&longer), 0);
    // This request does not name an endpoint.
    let (elsewhere, ()) = http::Request::get("/").body(()).unwrap().into_parts();
    assert!(cache.secrets(&elsewhere).await.unwrap().is_none());
    assert_eq!(database.0.looked_up.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_verified_delivery_names_its_endpoint() {
    let cache = CachedSecrets::new(Database::fast());
    let service = echo(SoundHashWebhookLayer::with_provider(cache));
    let endpoint = async |name: &str| {
        let Ok(response) = service.clone().oneshot(request(name, name)).await;
        let delivery = response.extensions().get::<Delivery>().unwrap();
        assert_eq!(**delivery.body(), *BODY);
        delivery.endpoint().map(ToOwned::to_owned)
    };
    for _ in 0..2 {
        assert_eq!(endpoint("real-1").await.as_deref(), Some("real-1"));
        // If the lookup itself names the endpoint, the cache keeps that name.
        assert_eq!(endpoint("real-named").await.as_deref(), Some("customer 7"));
    }
    // Attack: sign for one endpoint with the secret of another.
    let forged: http::Request<Body> = request("real-1", "real-2");
    let rejected = outcome(service.clone(), forged).await;
    assert_eq!(rejected, Err(RejectionKind::WrongSignature));
}
