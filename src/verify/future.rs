//! Receives a request, verifies it and calls the inner service.

use std::{
    error::Error,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Method, Request, Version, request};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::BodyReader,
    copies::Handled,
    drain::{drain, keeps_alive, may_poll},
    keys::Keys,
    limits::Limits,
    response::ResponseCheck,
};
use crate::{
    delivery::{Delivery, DeliverySlot},
    rejection::{Rejection, RejectionKind},
    secret::Secrets,
    signature::Signature,
    telemetry::{self, DeliveryFields, Handling, Rejected, Stopwatch},
};

pin_project! {
    /// The response future of [`SoundHashWebhook`](super::SoundHashWebhook), where `S` is the inner
    /// service and `F` its future.
    pub struct ResponseFuture<S, F> {
        version: Version,
        limits: Arc<Limits>,
        #[pin]
        state: State<S, F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    enum State<S, F> {
        Rejected { rejection: Rejection, remainder: Remainder },
        Verifying { verifying: Verifying, inner: S },
        Inner {
            #[pin]
            future: Handling<F>,
            is_post: bool,
            check: Option<Box<ResponseCheck>>,
            handled: Handled,
        },
        Done,
    }
}

/// The state of a rejected body.
enum Remainder {
    /// A body that must not be polled, because the sender waits for a 100.
    Unpolled,
    Unread {
        body: Body,
        received: usize,
    },
    /// The body was received in full and has this length.
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
        record(limits, &rejection, head, None);
        let remainder = match may_poll(head) {
            true => Remainder::Unread { body, received: 0 },
            false => Remainder::Unpolled,
        };
        Self {
            version: head.version,
            limits: limits.clone(),
            state: State::Rejected {
                rejection,
                remainder,
            },
        }
    }

    #[inline]
    pub(super) fn verify(
        keys: Keys,
        body: Body,
        signature: Signature,
        inner: S,
        limits: &Arc<Limits>,
    ) -> Self {
        let head = keys.head();
        Self {
            version: head.version,
            limits: limits.clone(),
            state: State::Verifying {
                verifying: Verifying {
                    reader: BodyReader::new(head, body, limits.clone()),
                    signature,
                    stopwatch: Stopwatch::start(),
                    keys,
                },
                inner,
            },
        }
    }
}

impl<S, F> Future for ResponseFuture<S, F>
where
    S: Service<Request<Body>, Response: IntoResponse, Future = F>,
    F: Future<Output = Result<S::Response, S::Error>>,
{
    type Output = Result<Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let verified = match this.state.as_mut().project() {
            StateProj::Verifying { verifying, .. } => ready!(verifying.poll(cx)),
            StateProj::Rejected {
                rejection,
                remainder,
            } => {
                let remainder = mem::replace(remainder, Remainder::Unpolled);
                let response =
                    respond(rejection.clone(), remainder, *this.version, this.limits, cx);
                return Poll::Ready(Ok(response));
            }
            StateProj::Inner {
                mut future,
                is_post,
                check,
                ..
            } => {
                let mut response = ready!(future.as_mut().poll(cx))?.into_response();
                // SoundHash sends only POST, so any other request repeats a recorded delivery.
                if *is_post {
                    future.responded(&response, &this.limits.shared.rejections);
                }
                if let Some(check) = check.take() {
                    response = check.check(response);
                }
                return Poll::Ready(Ok(response));
            }
            StateProj::Done => panic!("polled after completion"),
        };
        let state = this.state.as_mut().project_replace(State::Done);
        let StateOwned::Verifying {
            verifying,
            mut inner,
        } = state
        else {
            unreachable!("the request has just been verified");
        };
        let verified = verified.and_then(|delivery| {
            match this.limits.shared.copies.handle(&verifying.signature) {
                Some(handled) => Ok((delivery, handled)),
                None => Err(Rejection::new(RejectionKind::TooManyCopies)),
            }
        });
        match verified {
            Ok((delivery, handled)) => {
                this.limits.shared.rejections.log_summaries();
                let head = verifying.keys.head();
                let is_post = head.method == Method::POST;
                let check = response_check(this.limits, head);
                let future = verifying.call(delivery, |request| inner.call(request));
                this.state.set(State::Inner {
                    future,
                    is_post,
                    check,
                    handled,
                });
                self.poll(cx)
            }
            Err(rejection) => {
                let endpoint = verifying.keys.secrets().and_then(Secrets::endpoint_name);
                record(this.limits, &rejection, verifying.keys.head(), endpoint);
                let remainder = verifying.remainder();
                let response = respond(rejection, remainder, *this.version, this.limits, cx);
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// Starts reading the remainder of a rejected body, and returns the response.
fn respond(
    rejection: Rejection,
    remainder: Remainder,
    version: Version,
    limits: &Limits,
    cx: &mut Context<'_>,
) -> Response {
    let keep_alive = match remainder {
        Remainder::Unpolled => false,
        Remainder::Unread { body, received } => {
            drain(body, received, version, &limits.shared.drains, cx)
        }
        Remainder::Received(len) => keeps_alive(len as u64),
    };
    rejection.into_response(version, keep_alive, limits.explain_rejections)
}

/// A request whose body is being received and verified.
struct Verifying {
    reader: BodyReader,
    signature: Signature,
    stopwatch: Stopwatch,
    keys: Keys,
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
        ready!(reader.poll(cx, |data| stopwatch.hashing(|| keys.update(data))))?;
        let Poll::Ready(result) = keys.poll_lookup(cx) else {
            // The body stays in memory during the lookup, so it counts against the budget.
            reader.reserve(cx)?;
            return Poll::Pending;
        };
        result?;
        let body = reader.take()?;
        let matched = stopwatch.hashing(|| keys.verify(&body, signature));
        Poll::Ready(match (keys.secrets(), matched) {
            (None, _) => Err(Rejection::new(RejectionKind::UnknownEndpoint)),
            (Some(_), None) => {
                let is_post = keys.head().method == Method::POST;
                Err(Rejection::new(match is_post {
                    true => RejectionKind::WrongSignature,
                    false => RejectionKind::Redirected,
                }))
            }
            (Some(secrets), Some(matched)) => {
                let endpoint = secrets.endpoint_name().cloned();
                let label = secrets.label_of(matched).cloned();
                Ok(Delivery::new(body, *signature, matched, label, endpoint))
            }
        })
    }

    fn call<F>(self, delivery: Delivery, call: impl FnOnce(Request<Body>) -> F) -> Handling<F> {
        let detached = || delivery.detached().clone();
        let watch = telemetry::verified(|| fields(&delivery), detached, &self.stopwatch);
        let body = Body::from(delivery.body().clone());
        let mut request = Request::from_parts(self.keys.into_head(), body);
        if let Some(slot) = request.extensions().get::<DeliverySlot>() {
            slot.fill(&delivery);
        }
        request.extensions_mut().insert(delivery);
        Handling::call(watch, || call(request))
    }

    fn remainder(mut self) -> Remainder {
        let received = self.reader.len();
        match self.reader.remainder() {
            Some(body) => Remainder::Unread { body, received },
            None => Remainder::Received(received),
        }
    }
}

/// Returns the fields that identify a delivery in the log and the metrics.
fn fields(delivery: &Delivery) -> DeliveryFields<'_> {
    let (id, event_type, known_type) = delivery.id_and_type();
    DeliveryFields {
        id: id.map(|id| id as _),
        event_type,
        known_type,
        endpoint: delivery.endpoint(),
        bytes: delivery.body().len(),
        matched_secret: delivery.matched_secret(),
        secret_label: delivery.secret_label(),
    }
}

fn record(
    limits: &Limits,
    rejection: &Rejection,
    head: &request::Parts,
    endpoint: Option<&Arc<str>>,
) {
    if !telemetry::is_on() {
        return;
    }
    let kind = rejection.kind();
    let rejected = Rejected {
        reason: kind.as_str(),
        message: rejection,
        advice: kind.advice(),
        severity: kind.severity(),
        source: rejection.source(),
        path: Some(head.uri.path()),
        endpoint: endpoint.map(AsRef::as_ref),
    };
    telemetry::rejected(&limits.shared.rejections, &rejected);
}

#[inline]
fn response_check(limits: &Limits, head: &request::Parts) -> Option<Box<ResponseCheck>> {
    let checks = cfg!(feature = "tracing") && limits.check_responses;
    checks.then(|| ResponseCheck::new(&limits.shared.response_logged, head.uri.path()))?
}

impl<S, F> fmt::Debug for ResponseFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
