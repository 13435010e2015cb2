//! Events, an application with the layer, and stores that fail on purpose.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::Body,
    handler::Handler,
    http::{Request, Response, StatusCode, header},
    routing::post,
};
use soundhash_webhook::{
    SoundHashWebhookLayer,
    idempotency::{
        Claim, ClaimToken, IdempotencyLayer, IdempotencyStore, Key, MemoryStore, Outcome,
        OutcomeKind,
    },
};
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{SECRET, signed, text};

/// Returns an event with this id.
pub(crate) fn event(id: impl serde::Serialize) -> Request<Body> {
    signed(body(id))
}

pub(crate) fn body(id: impl serde::Serialize) -> String {
    serde_json::json!({"type": "video.processed", "id": id, "data": {"title": "Test"}}).to_string()
}

pub(super) fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new(100_000))
}

pub(super) fn app<St, H, T>(layer: IdempotencyLayer<St>, handler: H) -> Router
where
    St: IdempotencyStore,
    H: Handler<T, ()>,
    T: 'static,
{
    Router::new()
        .route("/webhooks/soundhash", post(handler))
        .layer(
            ServiceBuilder::new()
                .layer(SoundHashWebhookLayer::new(SECRET))
                .layer(layer),
        )
}

/// Counts the runs of a handler.
#[derive(Clone, Default)]
pub(super) struct Runs(Arc<AtomicUsize>);

impl Runs {
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns a handler that counts and succeeds.
    pub(super) fn handler(&self) -> impl Handler<((),), ()> + use<> {
        let runs = self.clone();
        move || async move {
            runs.add();
            StatusCode::OK
        }
    }

    /// Returns a handler that counts, and then responds with the result of `f` for the count.
    pub(super) fn then<F, Fut>(&self, f: F) -> impl Handler<((),), ()> + use<F, Fut>
    where
        F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = StatusCode> + Send,
    {
        let runs = self.clone();
        move || async move { f(runs.add()).await }
    }
}

/// The status, and the kind of the outcome if the layer responded.
pub(super) type Answered = (u16, Option<OutcomeKind>);

pub(super) const RUN: Answered = (200, None);
pub(super) const DUPLICATE: Answered = (200, Some(OutcomeKind::Duplicate));
pub(super) const IN_PROGRESS: Answered = (503, Some(OutcomeKind::InProgress));
pub(super) const STORE_UNAVAILABLE: Answered = (503, Some(OutcomeKind::StoreUnavailable));

pub(super) async fn send(app: &Router, request: Request<Body>) -> Answered {
    let Ok(response) = app.clone().oneshot(request).await;
    outcome(response).await
}

pub(super) async fn outcome(response: Response<Body>) -> Answered {
    let answer = response.extensions().get::<Outcome>().cloned();
    let kind = answer.as_ref().map(Outcome::kind);
    let status = response.status();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let retry_after = response.headers().contains_key(header::RETRY_AFTER);
    let body = text(response).await;
    if let (Some(answer), Some(kind)) = (answer, kind) {
        assert_eq!(answer.to_string(), words(kind));
        assert_eq!(status, kind.status());
        assert_eq!(replayed, kind == OutcomeKind::Duplicate);
        assert_eq!(retry_after, status == StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body.is_empty(), kind == OutcomeKind::Duplicate, "{body}");
    } else {
        assert!(!replayed);
    }
    (status.as_u16(), kind)
}

/// Returns the message in the log.
fn words(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Duplicate => "event was completed before",
        OutcomeKind::InProgress => "event is in progress",
        OutcomeKind::StoreUnavailable => "idempotency store failed",
        OutcomeKind::TooOld => "event is too old",
        OutcomeKind::Undated => "event has no time",
        OutcomeKind::FromTheFuture => "event is from the future",
        OutcomeKind::MethodNotAllowed => "request is not a POST",
        OutcomeKind::Unverified => "no SoundHashWebhookLayer outside of the IdempotencyLayer",
        other => panic!("{other:?} is new"),
    }
}

/// A store that fails as many of its next calls as these numbers say, and that takes `delay` to end
/// a claim.
#[derive(Clone)]
pub(super) struct Faulty {
    pub(super) inner: Arc<MemoryStore>,
    pub(super) claims_fail: Arc<AtomicUsize>,
    pub(super) ends_fail: Arc<AtomicUsize>,
    pub(super) delay: Duration,
}

impl Faulty {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(MemoryStore::new(100)),
            claims_fail: Arc::default(),
            ends_fail: Arc::default(),
            delay: Duration::ZERO,
        }
    }
}

async fn fail(count: &AtomicUsize, delay: Duration) -> Result<(), BoxError> {
    tokio::time::sleep(delay).await;
    let less = |count: usize| count.checked_sub(1);
    match count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
        Ok(_) => Err("store is down".into()),
        Err(_) => Ok(()),
    }
}

impl IdempotencyStore for Faulty {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        fail(&self.claims_fail, Duration::ZERO).await?;
        self.inner.claim(key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        time: Duration,
    ) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.complete(key, token, time).await
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.release(key, token).await
    }
}

/// A store that records each end of a claim at once, and replies a second later.
#[cfg(feature = "metrics")]
pub(super) struct LateReplies(MemoryStore);

#[cfg(feature = "metrics")]
impl Default for LateReplies {
    fn default() -> Self {
        Self(MemoryStore::new(100))
    }
}

#[cfg(feature = "metrics")]
impl IdempotencyStore for LateReplies {
    async fn claim(&self, key: &Key, lease: Duration) -> Result<Claim, BoxError> {
        self.0.claim(key, lease).await
    }

    async fn complete(
        &self,
        key: &Key,
        token: ClaimToken,
        retention: Duration,
    ) -> Result<bool, BoxError> {
        let result = self.0.complete(key, token, retention).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    }

    async fn release(&self, key: &Key, token: ClaimToken) -> Result<bool, BoxError> {
        let result = self.0.release(key, token).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        result
    }
}

/// Sends 64 copies of each event at once, in small batches, and checks that each event ran once.
pub(super) async fn flood(apps: &[Router], events: usize, runs: &Runs) {
    for batch in (0..events).collect::<Vec<_>>().chunks(50) {
        let mut copies = tokio::task::JoinSet::new();
        for id in batch {
            for copy in 0..64 {
                let (app, request) = (apps[copy % apps.len()].clone(), event(*id + 1));
                copies.spawn(async move { send(&app, request).await });
            }
        }
        while let Some(outcome) = copies.join_next().await {
            let outcome = outcome.unwrap();
            assert!(
                [RUN, DUPLICATE, IN_PROGRESS].contains(&outcome),
                "{outcome:?}"
            );
        }
        assert_eq!(runs.count(), batch.last().unwrap() + 1);
    }
}
