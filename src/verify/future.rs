//! Receives a request, looks up its secrets, verifies it and calls the inner service.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_core::{
    BoxError,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, Version, request};
use pin_project_lite::pin_project;
use tokio::time::timeout;
use tower_service::Service;

use super::{
    body::BodyReader,
    drain::{drain, keeps_alive, unasked},
    layer::Limits,
    provider::SecretProvider,
};
use crate::{
    delivery::{Delivery, DeliverySlot},
    event::{Envelope, EventKind},
    rejection::{Rejection, RejectionKind},
    secret::{Secrets, Verifier},
    signature::Signature,
    telemetry::{
        self, DeliveryFields, HandlerWatch, Handling, Rejected, RejectionLog, Severity, Stopwatch,
    },
};

pin_project! {
    /// The response future of [`SoundHashWebhook`](super::SoundHashWebhook).
    ///
    /// `S` is the inner service, and `F` is the inner service's future.
    pub struct ResponseFuture<S, F> {
        version: Version,
        limits: Arc<Limits>,
        #[pin]
        state: State<S, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Rejected { rejection: Option<Rejection>, rest: Rest },
        Verifying { verifying: Verifying, inner: S },
        Inner { #[pin] future: Handling<F> },
    }
}

/// The remainder of a rejected body.
enum Rest {
    /// The body must not be polled.
    Unasked,
    Unread {
        body: Body,
        received: usize,
    },
    /// The whole body was received. It has this length.
    Received(usize),
}

impl<S, F> ResponseFuture<S, F> {
    /// Rejects a request because of its head.
    pub(super) fn rejected(
        rejection: Rejection,
        head: &request::Parts,
        body: Body,
        limits: &Arc<Limits>,
    ) -> Self {
        record(&limits.rejections, &rejection, head, None);
        let rest =
            unasked(head, body).map_or(Rest::Unasked, |body| Rest::Unread { body, received: 0 });
        Self {
            version: head.version,
            limits: limits.clone(),
            state: State::Rejected {
                rejection: Some(rejection),
                rest,
            },
        }
    }

    /// Verifies a request whose secrets are known. The body is hashed while it arrives.
    #[inline]
    pub(super) fn verify_with(
        secrets: Secrets,
        inner: S,
        (head, body): (request::Parts, Body),
        signature: Signature,
        limits: &Arc<Limits>,
    ) -> Self {
        let keys = Keys::AtHand {
            verifier: secrets.verifier(),
            secrets,
            head,
        };
        Self::verifying(keys, body, signature, inner, limits)
    }

    /// Verifies a request whose secrets are looked up after the body has been received.
    pub(super) fn look_up<P: SecretProvider>(
        provider: &Arc<P>,
        inner: S,
        (head, body): (request::Parts, Body),
        signature: Signature,
        limits: &Arc<Limits>,
    ) -> Self {
        let head = Arc::new(head);
        let answer = look_up(provider.clone(), head.clone(), limits.lookup_timeout);
        let keys = Keys::LookUp {
            head,
            secrets: None,
            answer: Box::pin(answer),
        };
        Self::verifying(keys, body, signature, inner, limits)
    }

    #[inline]
    fn verifying(
        keys: Keys,
        body: Body,
        signature: Signature,
        inner: S,
        limits: &Arc<Limits>,
    ) -> Self {
        let version = keys.head().version;
        let verifying = Verifying {
            reader: BodyReader::new(body, limits.clone()),
            signature,
            stopwatch: Stopwatch::start(),
            keys: Some(keys),
        };
        Self {
            version,
            limits: limits.clone(),
            state: State::Verifying { verifying, inner },
        }
    }
}

impl<S, F> Future for ResponseFuture<S, F>
where
    S: Service<Request<Body>, Response: IntoResponse, Future = F>,
    F: Future<Output = Result<S::Response, S::Error>>,
{
    type Output = Result<Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Rejected { rejection, rest } => {
                    let rejection = rejection.take().expect("polled after completion");
                    let keep_alive = match mem::replace(rest, Rest::Unasked) {
                        Rest::Unasked => false,
                        Rest::Unread { body, received } => {
                            drain(body, received, *this.version, &this.limits.drains, cx)
                        }
                        Rest::Received(len) => keeps_alive(len as u64),
                    };
                    let explain = this.limits.explain_rejections;
                    let response = rejection.into_response(*this.version, keep_alive, explain);
                    return Poll::Ready(Ok(response));
                }
                StateProj::Verifying { verifying, inner } => match ready!(verifying.poll(cx)) {
                    Ok(delivery) => {
                        this.limits.rejections.log_summaries();
                        let keys = verifying.keys.take().expect("verified once");
                        let body = Body::from(delivery.body().clone());
                        let mut request = Request::from_parts(keys.into_head(), body);
                        if let Some(slot) = request.extensions().get::<DeliverySlot>() {
                            slot.fill(&delivery);
                        }
                        let watch = HandlerWatch::start(|| log_fields(&delivery));
                        request.extensions_mut().insert(delivery);
                        let future = Handling::call(watch, request, |it| inner.call(it));
                        this.state.set(State::Inner { future });
                    }
                    Err(rejection) => {
                        if let Some(keys) = &verifying.keys {
                            let log = &this.limits.rejections;
                            record(log, &rejection, keys.head(), keys.endpoint());
                        }
                        let rest = verifying.rest();
                        let rejection = Some(rejection);
                        this.state.set(State::Rejected { rejection, rest });
                    }
                },
                StateProj::Inner { future } => {
                    let response = ready!(future.poll(cx))?.into_response();
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

/// A request whose body is being received and verified.
struct Verifying {
    reader: BodyReader,
    signature: Signature,
    stopwatch: Stopwatch,
    /// `None` once the request has been verified.
    keys: Option<Keys>,
}

/// The secrets that the body is verified with, or the look-up that returns them.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost every delivery an allocation"
)]
enum Keys {
    AtHand {
        head: request::Parts,
        secrets: Secrets,
        verifier: Verifier,
    },
    LookUp {
        head: Arc<request::Parts>,
        /// Boxed because it borrows the head and the provider.
        answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
        /// `None` until the look-up has found the endpoint.
        secrets: Option<Secrets>,
    },
}

type Answer = Result<Option<Secrets>, BoxError>;

impl Keys {
    fn head(&self) -> &request::Parts {
        match self {
            Self::AtHand { head, .. } => head,
            Self::LookUp { head, .. } => head,
        }
    }

    fn into_head(self) -> request::Parts {
        match self {
            Self::AtHand { head, .. } => head,
            Self::LookUp { head, answer, .. } => {
                drop(answer);
                Arc::unwrap_or_clone(head)
            }
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        match self {
            Self::AtHand { secrets, .. } => Some(secrets),
            Self::LookUp { secrets, .. } => secrets.as_ref(),
        }
    }

    fn endpoint(&self) -> Option<&str> {
        self.secrets()?.endpoint_name().map(AsRef::as_ref)
    }
}

impl Verifying {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Rejection>> {
        let Self {
            reader,
            signature,
            stopwatch,
            keys,
        } = self;
        let keys = keys.as_mut().expect("polled after completion");
        let (body, matched) = match keys {
            Keys::AtHand { head, verifier, .. } => {
                let hash = |data: &[u8]| stopwatch.hashing(|| verifier.update(data));
                ready!(reader.poll(cx, head, hash))?;
                let matched = stopwatch.hashing(|| verifier.verify(signature));
                (reader.take()?, matched)
            }
            Keys::LookUp {
                head,
                answer,
                secrets,
            } => {
                ready!(reader.poll(cx, head, |_| ()))?;
                let Poll::Ready(answer) = answer.as_mut().poll(cx) else {
                    // The body occupies memory during the look-up.
                    reader.keep(cx, head)?;
                    return Poll::Pending;
                };
                let unavailable =
                    |error| Rejection::with_source(RejectionKind::SecretsUnavailable, error);
                *secrets = answer.map_err(unavailable)?;
                let body = reader.take()?;
                let mut verifier = secrets.as_ref().unwrap_or(&DECOY).verifier();
                let matched = stopwatch.hashing(|| {
                    verifier.update(&body);
                    verifier.verify(signature)
                });
                (body, matched)
            }
        };
        Poll::Ready(match (keys.secrets(), matched) {
            (None, _) => Err(Rejection::new(RejectionKind::UnknownEndpoint)),
            (Some(_), None) => Err(Rejection::new(RejectionKind::WrongSignature)),
            (Some(secrets), Some(matched)) => {
                let endpoint = secrets.endpoint_name().cloned();
                let delivery = Delivery::new(body, *signature, matched, endpoint);
                if telemetry::records_verified() {
                    let (fields, len) = (log_fields(&delivery), delivery.body().len());
                    telemetry::verified(fields, len, matched, stopwatch);
                }
                Ok(delivery)
            }
        })
    }

    fn rest(&mut self) -> Rest {
        match self.reader.rest() {
            Some(body) => Rest::Unread {
                body,
                received: self.reader.len(),
            },
            None => Rest::Received(self.reader.len()),
        }
    }
}

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

/// Returns the fields that identify a delivery in the log and the metrics. This parses the envelope,
/// which the [`Event`](crate::Event) extractor then reuses.
fn log_fields(delivery: &Delivery) -> DeliveryFields<'_> {
    let envelope = delivery.envelope().as_ref().ok();
    let kind = envelope.and_then(Envelope::kind);
    DeliveryFields {
        id: envelope.and_then(|it| it.id.as_ref()).map(|id| id as _),
        event_type: envelope.map(Envelope::event_type),
        known_type: kind.map(EventKind::as_str),
        endpoint: delivery.endpoint(),
    }
}

/// Replaces the secrets of an unknown endpoint. The body is hashed under them as well, so that
/// the time does not reveal which endpoints exist.
static DECOY: LazyLock<Secrets> = LazyLock::new(|| Secrets::new("decoy"));

async fn look_up<P: SecretProvider>(
    provider: Arc<P>,
    head: Arc<request::Parts>,
    limit: Duration,
) -> Answer {
    let mut answer = pin!(provider.secrets(&head));
    // Only a look-up that has to wait needs a timer, and with it a runtime.
    let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
    if let Poll::Ready(answer) = first {
        return answer;
    }
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("the look-up took longer than {limit:?}").into()),
    }
}

impl<S, F> fmt::Debug for ResponseFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
