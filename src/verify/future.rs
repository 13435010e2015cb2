use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum_core::{BoxError, body::Body};
use bytes::Bytes;
use http::{Request, Response, Version, request};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    drain::{drain, unasked},
    layer::Limits,
    provider::SecretProvider,
    receive::{Receive, log_fields},
};
use crate::{
    delivery::Delivery,
    rejection::{Rejection, RejectionKind},
    secret::Secrets,
    signature::Signature,
    telemetry::{self, HandlerWatch, Handling, Rejected, RejectionLog, Severity},
};

pin_project! {
    /// The response future of [`SoundHashWebhook`](super::SoundHashWebhook).
    ///
    /// `S` is the inner service, `F` its future, `B` the request's body.
    pub struct ResponseFuture<S, F, B> {
        version: Version,
        #[pin]
        state: State<S, F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        Refused { rejection: Option<Rejection>, rest: Option<B> },
        // The only state that always has a box: an answer of `SecretProvider::secrets` that borrows
        // the head it is asked about.
        LookUp { answer: LookUp, unread: Option<Unread<S, B>> },
        Receive { receive: Receive<B>, inner: S, head: Option<request::Parts> },
        Inner { #[pin] future: Handling<F>, delivery: Option<Delivery> },
    }
}

type LookUp = Pin<Box<dyn Future<Output = (request::Parts, Answer)> + Send>>;
type Answer = Result<Option<Secrets>, BoxError>;

/// What waits while the secrets are looked up.
struct Unread<S, B> {
    inner: S,
    body: B,
    signature: Signature,
    limits: Limits,
}

impl<S, F, B> ResponseFuture<S, F, B> {
    pub(super) fn refused(
        rejection: Rejection,
        head: &request::Parts,
        body: B,
        limits: &Limits,
    ) -> Self {
        record(&limits.rejections, &rejection, head, None);
        Self {
            version: head.version,
            state: State::refused(rejection, unasked(head, body)),
        }
    }

    pub(super) fn look_up<P: SecretProvider>(
        inner: S,
        head: request::Parts,
        body: B,
        signature: Signature,
        provider: &Arc<P>,
        limits: &Limits,
    ) -> Self {
        let version = head.version;
        let provider = provider.clone();
        let state = State::LookUp {
            answer: Box::pin(async move {
                let answer = provider.secrets(&head).await;
                (head, answer)
            }),
            unread: Some(Unread {
                inner,
                body,
                signature,
                limits: limits.clone(),
            }),
        };
        Self { version, state }
    }

    pub(super) fn receive(
        inner: S,
        head: request::Parts,
        body: B,
        signature: Signature,
        secrets: Option<Secrets>,
        limits: &Limits,
    ) -> Self {
        Self {
            version: head.version,
            state: State::receive(inner, head, body, signature, secrets, limits),
        }
    }
}

impl<S, F, B> State<S, F, B> {
    /// `rest` is what of the body may still come.
    fn refused(rejection: Rejection, rest: Option<B>) -> Self {
        Self::Refused {
            rejection: Some(rejection),
            rest,
        }
    }

    fn receive(
        inner: S,
        head: request::Parts,
        body: B,
        signature: Signature,
        secrets: Option<Secrets>,
        limits: &Limits,
    ) -> Self {
        Self::Receive {
            receive: Receive::new(body, signature, secrets, limits),
            inner,
            head: Some(head),
        }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, S::Future, B>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    B: http_body::Body + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    ResBody: From<Bytes>,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Refused { rejection, rest } => {
                    let rejection = rejection.take().expect("polled after completion");
                    if let Some(body) = rest.take() {
                        drain(body, *this.version, cx);
                    }
                    return Poll::Ready(Ok(rejection.into_response(*this.version)));
                }
                StateProj::LookUp { answer, unread } => {
                    let (head, answer) = ready!(answer.as_mut().poll(cx));
                    let unread = unread.take().expect("polled after completion");
                    this.state.set(match answer {
                        Ok(secrets) => State::receive(
                            unread.inner,
                            head,
                            unread.body,
                            unread.signature,
                            secrets,
                            &unread.limits,
                        ),
                        Err(error) => {
                            let kind = RejectionKind::SecretsUnavailable;
                            let rejection = Rejection::with_source(kind, error);
                            record(&unread.limits.rejections, &rejection, &head, None);
                            State::refused(rejection, unasked(&head, unread.body))
                        }
                    });
                }
                StateProj::Receive {
                    receive,
                    inner,
                    head,
                } => match ready!(receive.poll(cx)) {
                    Ok(delivery) => {
                        let head = head.take().expect("polled after completion");
                        let mut request =
                            Request::from_parts(head, Body::from(delivery.body().clone()));
                        let watch = HandlerWatch::start(|| log_fields(&delivery));
                        request.extensions_mut().insert(delivery.clone());
                        let future = Handling::call(watch, request, |it| inner.call(it));
                        let delivery = Some(delivery);
                        this.state.set(State::Inner { future, delivery });
                    }
                    Err(rejection) => {
                        let head = head.as_ref().expect("polled after completion");
                        let endpoint = receive.endpoint();
                        record(receive.rejections(), &rejection, head, endpoint.as_deref());
                        let rest = receive.rest();
                        this.state.set(State::refused(rejection, rest));
                    }
                },
                StateProj::Inner { future, delivery } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(delivery) = delivery.take() {
                        response.extensions_mut().insert(delivery);
                    }
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

#[inline]
fn record(
    log: &RejectionLog,
    rejection: &Rejection,
    head: &request::Parts,
    endpoint: Option<&str>,
) {
    if !telemetry::is_on() {
        return;
    }
    let kind = rejection.kind();
    let rejected = Rejected {
        reason: kind.as_str(),
        message: rejection,
        advice: kind.advice(),
        severity: match kind {
            RejectionKind::SecretsUnavailable => Severity::Failure,
            _ => Severity::Warning,
        },
        source: rejection.source(),
        path: head.uri.path(),
        endpoint,
    };
    telemetry::rejected(log, &rejected);
}

impl<S, F, B> fmt::Debug for ResponseFuture<S, F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
