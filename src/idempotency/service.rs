use std::{
    error::Error,
    fmt,
    future::{self, Future},
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{
    answer::{Answer, AnswerKind},
    held::Held,
    key::Key,
    layer::{IdempotencyLayer, Settings},
    store::{Claim, IdempotencyStore},
};
use crate::{
    delivery::Delivery,
    telemetry::{self, Rejected, StoreStep},
};

/// The [`Service`] that [`IdempotencyLayer`] makes: claims the event, then calls `S`.
///
/// The inner service may answer with any body that can be made of [`Bytes`]. Its errors and
/// panics are passed on; the layer adds none of its own.
pub struct Idempotency<S, St> {
    pub(super) inner: S,
    pub(super) layer: IdempotencyLayer<St>,
}

/// The response future of [`Idempotency`].
pub struct IdempotencyFuture<R, E>(Pin<Box<dyn Future<Output = Result<R, E>> + Send>>);

impl<S, St, B, R> Service<Request<B>> for Idempotency<S, St>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    St: IdempotencyStore,
    B: Send + 'static,
    R: From<Bytes> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = IdempotencyFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been polled ready, so it is the one that stays behind.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        IdempotencyFuture(Box::pin(async move {
            let version = request.version();
            let held = match claim(&layer, request.extensions().get()).await {
                Ok(held) => held,
                Err(answer) => {
                    let delivery = request.extensions().get();
                    record(&layer.settings, &answer, request.uri().path(), delivery);
                    return Ok(answer.into_response(version));
                }
            };
            if !layer.settings.detach {
                return run(inner, request, held).await;
            }
            let watch = request.extensions().get().cloned();
            let task = tokio::spawn(telemetry::detached(watch, run(inner, request, held)));
            match task.await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime is shutting down, and this task with it.
                    Err(_) => future::pending().await,
                },
            }
        }))
    }
}

/// The claim, or the answer in place of the handler's.
async fn claim<St: IdempotencyStore>(
    layer: &IdempotencyLayer<St>,
    delivery: Option<&Delivery>,
) -> Result<Held<St>, Answer> {
    let settings = &layer.settings;
    let delivery = delivery.ok_or(Answer::new(AnswerKind::Unverified))?;
    let created_at = delivery
        .envelope()
        .as_ref()
        .ok()
        .and_then(|envelope| envelope.created_at);
    if let Some(kind) = settings.refusal(created_at) {
        return Err(Answer::new(kind));
    }
    let key = Key::of(delivery, settings.scope.as_deref());
    let claim = layer.store.claim(&key, settings.lease);
    match telemetry::store_step(StoreStep::Claim, claim).await {
        Ok(Claim::Acquired(token)) => Ok(Held::new(layer.store.clone(), key, token, settings)),
        Ok(Claim::InProgress) => Err(Answer::new(AnswerKind::InProgress)),
        Ok(Claim::Completed) => Err(Answer::new(AnswerKind::Duplicate)),
        Err(error) => Err(Answer::store_unavailable(error)),
    }
}

fn record(settings: &Settings, answer: &Answer, path: &str, delivery: Option<&Delivery>) {
    let kind = answer.kind();
    if kind == AnswerKind::Duplicate {
        return telemetry::duplicate(kind.as_str());
    }
    let rejected = Rejected {
        reason: kind.as_str(),
        message: answer,
        advice: kind.advice(),
        severity: kind.severity(),
        source: answer.source(),
        path,
        endpoint: delivery.and_then(Delivery::endpoint),
    };
    telemetry::not_acted_on(&settings.rejections, &rejected);
}

/// Runs the handler and records what came of it. If this is dropped, so is `held`, and the
/// event is released.
async fn run<S, St, B, R>(
    mut inner: S,
    request: Request<B>,
    held: Held<St>,
) -> Result<Response<R>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    St: IdempotencyStore,
{
    let outcome = caught(async { inner.call(request).await }).await;
    let succeeded = matches!(&outcome, Ok(Ok(response)) if response.status().is_success());
    if succeeded {
        held.complete().await;
    } else {
        held.release().await;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The panic is raised again as soon as the event is released, so nobody sees what it may
/// have left behind.
async fn caught<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(future);
    future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

impl<R, E> Future for IdempotencyFuture<R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<R, E> fmt::Debug for IdempotencyFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyFuture").finish_non_exhaustive()
    }
}

impl<S: Clone, St> Clone for Idempotency<S, St> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, St> fmt::Debug for Idempotency<S, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
