//! The layer that records requests and their answers.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    body::{Body, HttpBody},
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use pin_project_lite::pin_project;
use soundhash_webhook::{
    Delivery, DeliverySlot, Rejection, RejectionKind, SIGNATURE_HEADER, Signature,
    idempotency::{Outcome, OutcomeKind},
};
use tower::{BoxError, Layer, Service};

use crate::{
    Inspector,
    capture::{Kept, Observed, Observer, Recording},
    event::Labels,
    record::{Head, Message, Record, Verdict},
    target::{Application, Replay, Target},
};

/// The [`Layer`] of an [`Inspector`], which records requests and their answers.
///
/// Put it outside of all other layers. It changes neither requests nor answers. It does not read
/// bodies itself, but copies the frames that the application reads.
#[derive(Clone)]
pub struct InspectorLayer {
    inspector: Inspector,
}

impl InspectorLayer {
    pub(crate) fn new(inspector: Inspector) -> Self {
        Self { inspector }
    }
}

impl<S> Layer<S> for InspectorLayer {
    type Service = Inspect<S>;

    fn layer(&self, inner: S) -> Inspect<S> {
        Inspect::new(inner, self.inspector.clone())
    }
}

impl fmt::Debug for InspectorLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectorLayer").finish_non_exhaustive()
    }
}

/// The [`Service`] of [`InspectorLayer`].
#[derive(Clone)]
pub struct Inspect<S> {
    inner: S,
    inspector: Inspector,
    /// A clone of `inner`, to which requests are sent again. All clones of this service share it.
    target: Arc<OnceLock<Arc<dyn Target>>>,
}

impl<S> Inspect<S> {
    pub(crate) fn new(inner: S, inspector: Inspector) -> Self {
        let target = Arc::default();
        Self {
            inner,
            inspector,
            target,
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

impl<S: fmt::Debug> fmt::Debug for Inspect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspect")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for Inspect<S>
where
    S: Service<Request<Body>, Response: IntoResponse, Future: Send> + Clone + Send + 'static,
    S::Error: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let target = self
            .target
            .get_or_init(|| Application::new(self.inner.clone()));
        let exchange = Arc::new(Exchange::new(&self.inspector, target.clone(), &request));
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(exchange.delivery.clone());
        // The layer rejects a request without a signature before it reads the body, and a request
        // without a signature can be any request of the application.
        if exchange.signed {
            if request.body().is_end_stream() {
                exchange.recording().observe::<()>(&Poll::Ready(None), true);
            }
            request = request.map(|body| {
                let observer = RequestObserver(exchange.clone());
                Body::new(Observed { body, observer })
            });
        }
        ResponseFuture {
            future: self.inner.call(request),
            pending: Pending(Some(exchange)),
        }
    }
}

pin_project! {
    /// The response future of [`Inspect`].
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        pending: Pending,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        let exchange = this.pending.0.take();
        match (answer, exchange) {
            (Ok(response), Some(exchange)) => {
                Poll::Ready(Ok(answered(exchange, response.into_response())))
            }
            (Ok(response), None) => Poll::Ready(Ok(response.into_response())),
            (Err(error), exchange) => {
                if let Some(exchange) = exchange {
                    exchange.unanswered(
                        Verdict::Failed,
                        "The application did not answer, because a service failed.",
                    );
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A request that is not answered yet. If this is dropped, the request stays without an answer.
struct Pending(Option<Arc<Exchange>>);

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(exchange) = self.0.take() else {
            return;
        };
        if thread::panicking() {
            exchange.unanswered(Verdict::Failed, "The handler panicked.");
        } else if exchange.recording().is_ended() {
            exchange.unanswered(
                Verdict::CutOff,
                "The sender hung up before the handler answered.",
            );
        } else {
            exchange.unanswered(
                Verdict::CutOff,
                "The sender hung up before its body was complete.",
            );
        }
    }
}

/// A request, and what the inspector knows about it before the answer.
struct Exchange {
    inspector: Inspector,
    target: Arc<dyn Target>,
    time: SystemTime,
    started: Instant,
    /// The number of the head's copy.
    head: u64,
    head_whole: bool,
    /// Whether the request has a signature header, valid or not.
    signed: bool,
    signature: Option<Signature>,
    recording: Mutex<Recording>,
    peer: Option<SocketAddr>,
    replay: Option<Replay>,
    /// Filled by the layer that verifies the request.
    delivery: DeliverySlot,
}

/// The outcome of a request.
struct Ending {
    verdict: Verdict,
    reason: Option<Cow<'static, str>>,
    explainable: bool,
    status: Option<StatusCode>,
    verified: bool,
    endpoint: Option<Box<str>>,
    matched_secret: Option<usize>,
    /// The verified body. It replaces the copy, which may have been dropped.
    body: Option<Kept>,
    /// The labels of an event whose body is longer than what is kept.
    labels: Option<Labels>,
    duration: Duration,
}

impl Exchange {
    fn new<B>(inspector: &Inspector, target: Arc<dyn Target>, request: &Request<B>) -> Self {
        let in_flight = &inspector.store.in_flight;
        let (head, head_whole) = Head::of_request(request);
        let signature = request.headers().get(SIGNATURE_HEADER);
        let extensions = request.extensions();
        let peer = extensions
            .get()
            .map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| *peer);
        Self {
            target,
            time: SystemTime::now(),
            started: Instant::now(),
            head: in_flight.keep(head),
            head_whole,
            signed: signature.is_some(),
            signature: signature.and_then(|it| Signature::try_from(it).ok()),
            recording: Mutex::new(Recording::new(
                inspector.config.max_body_size,
                in_flight.clone(),
            )),
            peer,
            replay: extensions.get().cloned(),
            delivery: DeliverySlot::default(),
            inspector: inspector.clone(),
        }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request that was never answered.
    fn unanswered(&self, verdict: Verdict, reason: &'static str) {
        if !self.signed {
            return;
        }
        let mut ending = self.ending();
        ending.verdict = verdict;
        ending.reason = Some(reason.into());
        ending.verified = ending.verified || self.is_authentic();
        self.keep(ending, None);
    }

    /// Returns an ending with the result of the verification.
    fn ending(&self) -> Ending {
        let delivery = self.delivery.get();
        let max = self.inspector.config.max_body_size;
        let long = delivery.filter(|it| it.body().len() > max);
        Ending {
            verdict: Verdict::Accepted,
            reason: None,
            explainable: false,
            status: None,
            verified: delivery.is_some(),
            endpoint: delivery.and_then(Delivery::endpoint).map(Into::into),
            matched_secret: delivery.map(Delivery::matched_secret),
            body: delivery.map(|it| Kept::of(it.body(), max)),
            labels: long.map(|it| Labels::of(it.event().ok().as_ref(), it.body())),
            duration: self.started.elapsed(),
        }
    }

    /// Returns whether the recorded body has the signature of a secret that the inspector knows. This
    /// finds deliveries that the application verified without the layer.
    fn is_authentic(&self) -> bool {
        let config = &self.inspector.config;
        let recording = self.recording();
        let verified = recording.read(|body| config.verify(self.signature, body));
        verified.flatten() == Some(true)
    }

    fn keep(&self, ending: Ending, answer: Option<Message>) {
        let recorded = self.recording().finish();
        let body = ending.body.unwrap_or(recorded);
        let head = Head::new(
            self.inspector.store.in_flight.take(self.head),
            self.head_whole,
        );
        let record = Record {
            number: 0,
            time: self.time,
            duration: ending.duration,
            verdict: ending.verdict,
            reason: ending.reason,
            explainable: ending.explainable,
            status: ending.status,
            verified: ending.verified,
            endpoint: ending.endpoint,
            matched_secret: ending.matched_secret,
            request: Message { head, body },
            answer,
            peer: self.peer,
            replay_of: self.replay.as_ref().and_then(|replay| replay.of),
            target: self.target.clone(),
            labels: ending.labels.map_or_else(OnceLock::new, OnceLock::from),
        };
        let number = self
            .inspector
            .store
            .push(record, self.inspector.config.capacity);
        if let Some(replay) = &self.replay {
            let _ = replay.number.set(number);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The copy still exists if nothing was recorded.
        self.inspector.store.in_flight.take(self.head);
    }
}

/// Finds the verdict of an answer, and records the answer when its body was read.
fn answered(exchange: Arc<Exchange>, response: Response) -> Response {
    let Some(ending) = exchange.judge(&response) else {
        return response;
    };
    let Inspector { store, config } = &exchange.inspector;
    // Later frames are only drained.
    exchange.recording().stop();
    let (head, head_whole) = Head::of_response(&response);
    let head = store.in_flight.keep(head);
    let mut recording = Recording::new(config.max_body_size, store.in_flight.clone());
    let is_empty = response.body().is_end_stream();
    if is_empty {
        recording.observe::<()>(&Poll::Ready(None), true);
    }
    let answer = Answer(Some(Box::new(Answered {
        exchange,
        ending,
        head,
        head_whole,
        recording,
    })));
    if is_empty {
        return response;
    }
    response.map(|body| {
        Body::new(Observed {
            body,
            observer: answer,
        })
    })
}

impl Exchange {
    /// Returns `None` for an answer that has nothing to do with webhooks.
    fn judge(&self, response: &Response) -> Option<Ending> {
        let extensions = response.extensions();
        let rejection: Option<&Rejection> = extensions.get();
        let outcome: Option<&Outcome> = extensions.get();
        if !self.signed && rejection.is_none() {
            return None;
        }
        let status = response.status();
        let mut ending = self.ending();
        ending.status = Some(status);
        ending.verified |= outcome.is_some();
        if let Some(rejection) = rejection {
            ending.verdict = Verdict::Rejected;
            ending.reason = Some(sentence(&rejection.to_string()));
            ending.explainable = matches!(
                rejection.kind(),
                RejectionKind::WrongSignature
                    | RejectionKind::MalformedSignature
                    | RejectionKind::SeveralSignatures
            );
            ending.verified = false;
            return Some(ending);
        }
        if let Some(outcome) = outcome {
            ending.verdict = match outcome.kind() {
                OutcomeKind::Duplicate => Verdict::Duplicate,
                OutcomeKind::StoreUnavailable | OutcomeKind::Unverified => Verdict::Failed,
                _ => Verdict::Rejected,
            };
            ending.verified &= outcome.kind() != OutcomeKind::Unverified;
            ending.reason = Some(sentence(&outcome.to_string()));
            return Some(ending);
        }
        ending.verified = ending.verified || self.is_authentic();
        if !ending.verified {
            let route = matches!(
                status,
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
            );
            (ending.verdict, ending.reason) = if route {
                (
                    Verdict::Rejected,
                    Some("No route of the application takes this request.".into()),
                )
            } else {
                (Verdict::Failed, Some("No `SoundHashWebhookLayer` verified this request: it is missing on this route, or something outside of it answered.".into()))
            };
        } else if is_replayed(response.headers()) {
            ending.verdict = Verdict::Duplicate;
            ending.reason = Some("The event was handled before.".into());
        } else if !status.is_success() {
            ending.verdict = Verdict::Failed;
            ending.reason = Some(format!("The handler answered {}.", status.as_u16()).into());
        }
        Some(ending)
    }
}

fn is_replayed(headers: &HeaderMap) -> bool {
    headers
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

/// Turns an error message into a sentence.
fn sentence(message: &str) -> Cow<'static, str> {
    let mut chars = message.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).chain(['.']).collect::<String>().into()
}

struct RequestObserver(Arc<Exchange>);

impl Observer for RequestObserver {
    fn observe(
        &mut self,
        polled: &Poll<Option<Result<Frame<Bytes>, axum::Error>>>,
        is_end_stream: bool,
    ) {
        if polled.is_ready() {
            self.0.recording().observe(polled, is_end_stream);
        }
    }
}

/// An answer whose body is being sent. It is kept when this is dropped.
struct Answer(Option<Box<Answered>>);

struct Answered {
    exchange: Arc<Exchange>,
    ending: Ending,
    /// The number of the head's copy.
    head: u64,
    head_whole: bool,
    recording: Recording,
}

impl Observer for Answer {
    fn observe(
        &mut self,
        polled: &Poll<Option<Result<Frame<Bytes>, axum::Error>>>,
        is_end_stream: bool,
    ) {
        let Some(answered) = &mut self.0 else {
            return;
        };
        answered.recording.observe(polled, is_end_stream);
        if answered.recording.is_ended() {
            self.keep();
        }
    }
}

impl Answer {
    fn keep(&mut self) {
        if let Some(answered) = self.0.take() {
            let mut answered = *answered;
            let in_flight = &answered.exchange.inspector.store.in_flight;
            let answer = Message {
                head: Head::new(in_flight.take(answered.head), answered.head_whole),
                body: answered.recording.finish(),
            };
            answered.exchange.keep(answered.ending, Some(answer));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.keep();
    }
}
