//! Events, an application around the layer, and stores that misbehave on purpose.

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
        Answer, AnswerKind, Claim, IdempotencyLayer, IdempotencyStore, Key, MemoryStore, Token,
    },
};
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{SECRET, signed, text};

/// An event with that id.
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

/// Counts how often a handler was run.
#[derive(Clone, Default)]
pub(super) struct Runs(Arc<AtomicUsize>);

impl Runs {
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A handler that counts and succeeds.
    pub(super) fn handler(&self) -> impl Handler<((),), ()> + use<> {
        let runs = self.clone();
        move || async move {
            runs.add();
            StatusCode::OK
        }
    }

    /// A handler that counts, and then answers with what `f` makes of the count.
    pub(super) fn then<F, Fut>(&self, f: F) -> impl Handler<((),), ()> + use<F, Fut>
    where
        F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = StatusCode> + Send,
    {
        let runs = self.clone();
        move || async move { f(runs.add()).await }
    }
}

/// The status, and why if it is the layer's own.
pub(super) type Outcome = (u16, Option<AnswerKind>);

pub(super) const RUN: Outcome = (200, None);
pub(super) const DUPLICATE: Outcome = (200, Some(AnswerKind::Duplicate));
pub(super) const IN_PROGRESS: Outcome = (503, Some(AnswerKind::InProgress));
pub(super) const STORE_UNAVAILABLE: Outcome = (503, Some(AnswerKind::StoreUnavailable));

pub(super) async fn send(app: &Router, request: Request<Body>) -> Outcome {
    let Ok(response) = app.clone().oneshot(request).await;
    outcome(response).await
}

pub(super) async fn outcome(response: Response<Body>) -> Outcome {
    let answer = response.extensions().get::<Answer>().cloned();
    let kind = answer.as_ref().map(Answer::kind);
    let status = response.status();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let retry_after = response.headers().contains_key(header::RETRY_AFTER);
    let body = text(response).await;
    if let (Some(answer), Some(kind)) = (answer, kind) {
        assert_eq!(answer.to_string(), words(kind));
        assert_eq!(status, kind.status());
        assert_eq!(replayed, kind == AnswerKind::Duplicate);
        assert_eq!(retry_after, status == StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body.is_empty(), kind == AnswerKind::Duplicate, "{body}");
    } else {
        assert!(!replayed);
    }
    (status.as_u16(), kind)
}

/// What a log says of it.
fn words(kind: AnswerKind) -> &'static str {
    match kind {
        AnswerKind::Duplicate => "event was completed before",
        AnswerKind::InProgress => "event is being worked on",
        AnswerKind::StoreUnavailable => "idempotency store failed",
        AnswerKind::TooOld => "event is too old",
        AnswerKind::Undated => "event says no time",
        AnswerKind::FromTheFuture => "event is from the future",
        AnswerKind::Unverified => "no SoundHashWebhookLayer outside of the IdempotencyLayer",
        other => panic!("{other:?} is new"),
    }
}

/// A store with faults: how many of the next calls fail, and how long each takes.
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

    async fn complete(&self, key: &Key, token: Token, time: Duration) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.complete(key, token, time).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<bool, BoxError> {
        fail(&self.ends_fail, self.delay).await?;
        self.inner.release(key, token).await
    }
}

/// 64 copies of each of many events at once, in small batches: how often handlers ran.
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
