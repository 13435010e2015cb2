//! An application with both layers, its requests, and their expected results.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    http::{Request, Response, StatusCode, header},
    routing::post,
};
use soundhash_webhook::{
    SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, IdempotencyStore, MemoryStore, Outcome, OutcomeKind},
};
use tower::{ServiceBuilder, ServiceExt};

use crate::requests::{SECRET, signed, text};

/// Returns an event with this id.
pub fn event(id: impl serde::Serialize) -> Request<Body> {
    signed(body(id))
}

pub fn body(id: impl serde::Serialize) -> String {
    serde_json::json!({"type": "video.processed", "id": id, "data": {"title": "Test"}}).to_string()
}

pub fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new(100_000))
}

pub fn app<St, H, T>(layer: IdempotencyLayer<St>, handler: H) -> Router
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

/// Counts how often a handler runs.
#[derive(Clone, Default)]
pub struct Runs(Arc<AtomicUsize>);

impl Runs {
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns a handler that counts its runs and succeeds.
    pub fn handler(&self) -> impl Handler<((),), ()> + use<> {
        let runs = self.clone();
        move || async move {
            runs.add();
            StatusCode::OK
        }
    }

    /// Returns a handler whose first run is `first`. Later runs simply succeed.
    pub fn first<F, Fut>(&self, first: F) -> impl Handler<((),), ()> + use<F, Fut>
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = StatusCode> + Send,
    {
        self.then(move |run| {
            let first = (run == 1).then(&first);
            async move {
                match first {
                    Some(first) => first.await,
                    None => StatusCode::OK,
                }
            }
        })
    }

    /// Returns a handler that counts its runs, and responds with the result of `f` for the current
    /// count.
    pub fn then<F, Fut>(&self, f: F) -> impl Handler<((),), ()> + use<F, Fut>
    where
        F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = StatusCode> + Send,
    {
        let runs = self.clone();
        move || async move { f(runs.add()).await }
    }
}

/// The response status, and the outcome kind if the idempotency layer responded.
pub type StatusAndKind = (u16, Option<OutcomeKind>);

pub const RUN: StatusAndKind = (200, None);
pub const DUPLICATE: StatusAndKind = (200, Some(OutcomeKind::Duplicate));
pub const IN_PROGRESS: StatusAndKind = (503, Some(OutcomeKind::InProgress));
pub const STORE_UNAVAILABLE: StatusAndKind = (503, Some(OutcomeKind::StoreUnavailable));

pub async fn send(app: &Router, request: Request<Body>) -> StatusAndKind {
    let Ok(response) = app.clone().oneshot(request).await;
    outcome(response).await
}

pub async fn outcome(response: Response<Body>) -> StatusAndKind {
    let outcome = response.extensions().get::<Outcome>().cloned();
    let status = response.status();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let retry_after = response.headers().contains_key(header::RETRY_AFTER);
    let body = text(response).await;
    let kind = outcome.map(|outcome| outcome.kind());
    if let Some(kind) = kind {
        assert_eq!(status, kind.status());
        assert_eq!(retry_after, status == StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body.is_empty(), kind == OutcomeKind::Duplicate, "{body}");
    }
    assert_eq!(replayed, kind == Some(OutcomeKind::Duplicate));
    (status.as_u16(), kind)
}

/// Sends 64 copies of each event at once, in small batches of events, and checks that each event
/// ran only once.
pub async fn flood(apps: &[Router], events: usize, runs: &Runs) {
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
            let possible = [RUN, DUPLICATE, IN_PROGRESS];
            assert!(possible.contains(&outcome), "{outcome:?}");
        }
        assert_eq!(runs.count(), batch.last().unwrap() + 1);
    }
}
