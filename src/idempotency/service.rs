//! The service that claims an event, calls the inner service and records the result.

use std::{
    fmt,
    future::{self, Future},
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use axum_core::response::{IntoResponse, Response};
use http::{Method, Request};
use tower_service::Service;

use super::{
    guard::ClaimGuard,
    key::Key,
    outcome::{Outcome, OutcomeKind},
    settings::Settings,
    store::{Claim, IdempotencyStore},
};
use crate::{
    delivery::Delivery,
    panics::{catch_panic, panic_as_error},
    telemetry::{self, Rejected, StoreStep},
};

/// The [`Service`] that [`IdempotencyLayer`](super::IdempotencyLayer) creates, which claims the
/// event before it calls the inner service `S`.
///
/// The inner service can return anything that implements [`IntoResponse`], and its errors and
/// panics are passed on. A panic of the store counts as its failure.
pub struct Idempotency<S, St> {
    inner: S,
    store: Arc<St>,
    settings: Arc<Settings>,
}

/// The response future of [`Idempotency`].
pub struct IdempotencyFuture<E>(Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>);

impl<S, St> Idempotency<S, St> {
    pub(super) fn new(inner: S, store: Arc<St>, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            store,
            settings,
        }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, St, B> Service<Request<B>> for Idempotency<S, St>
where
    S: Service<Request<B>, Response: IntoResponse> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    St: IdempotencyStore,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = IdempotencyFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone may not be ready, so `self.inner` handles the request and the clone replaces
        // it.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let (store, settings) = (self.store.clone(), self.settings.clone());
        IdempotencyFuture(Box::pin(async move {
            let delivery = request.extensions().get();
            let guard = match claim(&store, &settings, request.method(), delivery).await {
                Ok(guard) => guard,
                Err(outcome) => {
                    log(&settings, &outcome, request.uri().path(), delivery);
                    return Ok(telemetry::logged(outcome.into_response()));
                }
            };
            settings.rejections.log_summaries();
            if !settings.detach {
                return run(inner, request, guard).await;
            }
            if let Some(delivery) = delivery {
                delivery.detached().store(true, Ordering::Relaxed);
            }
            // Dropped with this future if the sender hangs up or a timeout expires.
            let waiting = Arc::new(());
            let waits = Arc::downgrade(&waiting);
            let task = tokio::spawn(telemetry::detached(async move {
                let result = run(inner, request, guard).await;
                if let Ok(response) = &result
                    && waits.strong_count() == 0
                {
                    telemetry::unheard(response, &settings.rejections);
                }
                result
            }));
            match task.await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime is shutting down and will soon drop this future, too.
                    Err(_) => future::pending().await,
                },
            }
        }))
    }
}

/// Claims the event, or returns the outcome to respond with instead of calling the handler.
async fn claim<St: IdempotencyStore>(
    store: &Arc<St>,
    settings: &Settings,
    method: &Method,
    delivery: Option<&Delivery>,
) -> Result<ClaimGuard<St>, Outcome> {
    let delivery = delivery.ok_or(Outcome::new(OutcomeKind::Unverified))?;
    let envelope = delivery.envelope().as_ref().ok();
    settings.check_age(envelope.and_then(|envelope| envelope.created_at))?;
    // The age is checked before the method, so that an attacker who replays an old delivery always
    // gets the same 401 as for a wrong signature.
    if method != Method::POST {
        return Err(Outcome::new(OutcomeKind::MethodNotAllowed));
    }
    let key = Key::of(delivery, settings.scope.as_deref());
    let claim = async { store.claim(&key, settings.lease).await };
    let claim = panic_as_error("the store", claim);
    match telemetry::store_step(StoreStep::Claim, claim).await {
        Ok(Claim::Acquired(token)) => Ok(ClaimGuard::new(store.clone(), key, token, settings)),
        Ok(Claim::InProgress) => Err(Outcome::new(OutcomeKind::InProgress)),
        Ok(Claim::Completed) => Err(Outcome::new(OutcomeKind::Duplicate)),
        Err(error) => Err(Outcome::store_unavailable(error)),
    }
}

fn log(settings: &Settings, outcome: &Outcome, path: &str, delivery: Option<&Delivery>) {
    let kind = outcome.kind();
    if kind == OutcomeKind::Duplicate {
        return telemetry::duplicate(kind.as_str());
    }
    let rejected = Rejected {
        reason: kind.as_str(),
        message: outcome,
        advice: kind.advice(),
        severity: kind.severity(),
        source: outcome.source(),
        path: Some(path),
        endpoint: delivery.and_then(Delivery::endpoint),
    };
    telemetry::skipped(&settings.rejections, &rejected);
}

/// Runs the handler and records the result. If this future is dropped, the event is released,
/// because `guard` is dropped with it.
async fn run<S, St, B>(
    mut inner: S,
    request: Request<B>,
    guard: ClaimGuard<St>,
) -> Result<Response, S::Error>
where
    S: Service<Request<B>, Response: IntoResponse>,
    St: IdempotencyStore,
{
    let call = async { inner.call(request).await.map(IntoResponse::into_response) };
    let result = catch_panic(call).await;
    let succeeded = matches!(&result, Ok(Ok(response)) if response.status().is_success());
    if succeeded {
        guard.complete().await;
    } else {
        guard.release().await;
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

impl<E> Future for IdempotencyFuture<E> {
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for IdempotencyFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyFuture").finish_non_exhaustive()
    }
}

impl<S: Clone, St> Clone for Idempotency<S, St> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            store: self.store.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<S: fmt::Debug, St> fmt::Debug for Idempotency<S, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
