//! A request and its response before they become a record.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    body::{Body, HttpBody},
    extract::ConnectInfo,
    response::Response,
};
use http::{Request, StatusCode};
use soundhash_webhook::{
    Delivery, DeliverySlot, Rejection, SIGNATURE_HEADER, Signature, idempotency::Key,
};

use crate::{
    Inspector,
    application::{Application, Replay, Route},
    capture::{Kept, Observed, Polled, Recording},
    event::Labels,
    inspector::Settings,
    record::{Head, Message, Record},
    verdict::{Judgment, Verdict},
};

/// A request that has no response yet. If this is dropped, the request is recorded without a
/// response.
pub(crate) struct Pending(Option<Arc<Exchange>>);

impl Pending {
    /// Returns the request with a body that is copied while the application reads it.
    pub(crate) fn new(
        inspector: &Inspector,
        application: &Application,
        mut request: Request<Body>,
    ) -> (Self, Request<Body>) {
        // A layer outside of the inspector may have inserted a slot, too.
        let slot = request
            .extensions_mut()
            .get_or_insert_default::<DeliverySlot>();
        let delivery = slot.clone();
        let exchange = Exchange::new(inspector, application.clone(), &request, delivery);
        let exchange = Arc::new(exchange);
        // Copies the body only if the request has a signature. The layer rejects unsigned requests
        // without reading their bodies, and such requests may be meant for any other route of the
        // application.
        if exchange.signed {
            if request.body().is_end_stream() {
                exchange.recording().end();
            }
            let observer = exchange.clone();
            let observe = move |polled: &Polled, is_end_stream| {
                if polled.is_ready() {
                    observer.recording().observe(polled, is_end_stream);
                }
            };
            request = request.map(|body| Body::new(Observed { body, observe }));
        }
        (Self(Some(exchange)), request)
    }

    /// Determines the verdict from a response. The request is recorded once the response body has
    /// been read.
    pub(crate) fn respond(&mut self, response: Response) -> Response {
        match self.0.take() {
            Some(exchange) => exchange.respond(response),
            None => response,
        }
    }

    /// Records a request for which the service returned an error.
    pub(crate) fn fail(&mut self) {
        self.end(
            Verdict::Failed,
            "The application did not respond, because a service failed.",
        );
    }

    fn end(&mut self, verdict: Verdict, reason: &'static str) {
        let Some(exchange) = self.0.take().filter(|exchange| exchange.signed) else {
            return;
        };
        let verified = exchange.delivery.get().is_some() || exchange.is_authentic();
        let ending = exchange.ending(Judgment::new(verdict, reason, verified), None);
        exchange.keep(ending, None);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(exchange) = &self.0 else {
            return;
        };
        let is_ended = exchange.recording().is_ended();
        let (verdict, reason) = if thread::panicking() {
            (Verdict::Failed, "The handler panicked.")
        } else if is_ended {
            let reason = "The sender hung up, or a timeout of the application expired, before the \
                          handler responded.";
            (Verdict::Canceled, reason)
        } else {
            let reason = "The sender hung up, or a timeout of the application expired, before the \
                          body was complete.";
            (Verdict::Canceled, reason)
        };
        self.end(verdict, reason);
    }
}

/// A request, with everything that the inspector knows about it before the response.
struct Exchange {
    inspector: Inspector,
    /// The settings at the time the request arrived.
    settings: Arc<Settings>,
    application: Application,
    time: SystemTime,
    started: Instant,
    /// Identifies the copy of the request's head in `InFlight`.
    head: u64,
    head_whole: bool,
    /// Whether the request has a signature header, valid or not.
    signed: bool,
    signature: Option<Signature>,
    recording: Mutex<Recording>,
    peer: Option<SocketAddr>,
    route: Route,
    replay: Option<Replay>,
    /// Filled in by the layer that verifies the request.
    delivery: DeliverySlot,
}

/// The outcome of a request.
struct Ending {
    judgment: Judgment,
    status: Option<StatusCode>,
    endpoint: Option<Box<str>>,
    key: Option<Key>,
    matched_secret: Option<usize>,
    /// The verified body. It is recorded instead of the copy, which may have been dropped.
    body: Option<Kept>,
    /// The labels of an event whose body is too long to be kept in full.
    labels: Option<Labels>,
    duration: Duration,
}

impl Exchange {
    fn new(
        inspector: &Inspector,
        application: Application,
        request: &Request<Body>,
        delivery: DeliverySlot,
    ) -> Self {
        let settings = inspector.settings();
        let in_flight = &inspector.store.in_flight;
        let (head, head_whole) = Head::of_request(request);
        let signature = request.headers().get(SIGNATURE_HEADER);
        let extensions = request.extensions();
        let peer = extensions
            .get()
            .map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer)
            .or_else(|| extensions.get())
            .copied();
        Self {
            application,
            time: SystemTime::now(),
            started: Instant::now(),
            head: in_flight.keep(head),
            head_whole,
            signed: signature.is_some(),
            signature: signature.and_then(|it| Signature::try_from(it).ok()),
            recording: Mutex::new(Recording::new(settings.max_body_size, in_flight.clone())),
            peer,
            route: Route::of(request),
            replay: extensions.get().cloned(),
            delivery,
            settings,
            inspector: inspector.clone(),
        }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ending(&self, judgment: Judgment, status: Option<StatusCode>) -> Ending {
        let delivery = self.delivery.get();
        let max = self.settings.max_body_size;
        let long = delivery.filter(|it| it.body().len() > max);
        if let Some(delivery) = delivery {
            // This parses the event to detect schema changes, even if the handler does not parse
            // it.
            let _ = delivery.event();
        }
        Ending {
            judgment,
            status,
            endpoint: delivery.and_then(Delivery::endpoint).map(Into::into),
            key: delivery.map(Key::from),
            matched_secret: delivery.map(Delivery::matched_secret),
            body: delivery.map(|it| Kept::of(it.body(), max)),
            labels: long.map(|it| Labels::of(it.event().ok())),
            duration: self.started.elapsed(),
        }
    }

    /// Returns whether the recorded body was signed with a secret that the inspector knows.
    fn is_authentic(&self) -> bool {
        let recording = self.recording();
        let verified = recording.read(|body| self.settings.verify(self.signature, body));
        verified == Some(true)
    }

    /// Determines the verdict from a response, unless the request has nothing to do with webhooks.
    fn respond(self: Arc<Self>, response: Response) -> Response {
        if !self.signed && response.extensions().get::<Rejection>().is_none() {
            return response;
        }
        let verified = self.delivery.get().is_some();
        let judgment = Judgment::of(&response, verified, || self.is_authentic());
        let ending = self.ending(judgment, Some(response.status()));
        // Frames of the request's body that the application reads after it has responded are not
        // recorded.
        self.recording().stop();
        let in_flight = self.inspector.store.in_flight.clone();
        let (head, head_whole) = Head::of_response(&response);
        let head = in_flight.keep(head);
        let mut recording = Recording::new(self.settings.max_body_size, in_flight);
        let is_empty = response.body().is_end_stream();
        if is_empty {
            recording.end();
        }
        let mut observer = ResponseObserver(Some(Box::new(Responded {
            exchange: self,
            ending,
            head,
            head_whole,
            recording,
        })));
        if is_empty {
            return response;
        }
        let observe = move |polled: &Polled, is_end_stream| observer.observe(polled, is_end_stream);
        response.map(|body| Body::new(Observed { body, observe }))
    }

    fn keep(&self, ending: Ending, response: Option<Message>) {
        let recorded = self.recording().finish();
        let store = &self.inspector.store;
        let record = Record {
            number: 0,
            is_repetition: false,
            time: self.time,
            duration: ending.duration,
            judgment: ending.judgment,
            status: ending.status,
            endpoint: ending.endpoint,
            key: ending.key,
            matched_secret: ending.matched_secret,
            request: Message {
                head: Head::new(store.in_flight.take(self.head), self.head_whole),
                body: ending.body.unwrap_or(recorded),
            },
            response,
            peer: self.peer,
            route: self.route.clone(),
            replay_of: self.replay.as_ref().and_then(|replay| replay.of),
            labels: ending.labels.map_or_else(OnceLock::new, OnceLock::from),
        };
        let number = store.push(record, self.application.clone(), self.settings.capacity);
        if let Some(replay) = &self.replay {
            let _ = replay.number.set(number);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // If the request was not recorded, the copy of its head still has to be removed.
        self.inspector.store.in_flight.take(self.head);
    }
}

/// Observes the body of a response while it is being sent. The request is recorded at the end of
/// the body, or when this is dropped.
struct ResponseObserver(Option<Box<Responded>>);

struct Responded {
    exchange: Arc<Exchange>,
    ending: Ending,
    /// Identifies the copy of the response's head in `InFlight`.
    head: u64,
    head_whole: bool,
    recording: Recording,
}

impl ResponseObserver {
    fn observe(&mut self, polled: &Polled, is_end_stream: bool) {
        let Some(responded) = &mut self.0 else {
            return;
        };
        responded.recording.observe(polled, is_end_stream);
        if responded.recording.is_ended() {
            self.keep();
        }
    }

    fn keep(&mut self) {
        if let Some(responded) = self.0.take() {
            let mut responded = *responded;
            let in_flight = &responded.exchange.inspector.store.in_flight;
            let response = Message {
                head: Head::new(in_flight.take(responded.head), responded.head_whole),
                body: responded.recording.finish(),
            };
            responded.exchange.keep(responded.ending, Some(response));
        }
    }
}

impl Drop for ResponseObserver {
    fn drop(&mut self) {
        self.keep();
    }
}
