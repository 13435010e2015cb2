//! A service that tracks requests until their response bodies have ended.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::{Bytes, Incoming},
    service::Service,
};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;

use crate::activity::Activity;

/// The number of bytes of a request body that count as progress. A sender's first flight is larger
/// (RFC 6928), and an attacker would have to send as much again and again.
const PROGRESS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: TowerToHyperService<S>,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, peer: SocketAddr, activity: Arc<Activity>) -> Self {
        Self {
            inner: TowerToHyperService::new(inner),
            peer,
            activity,
        }
    }
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone,
    B: Body,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedFuture<TowerToHyperServiceFuture<S, Request<RequestBody>>>;

    /// Begins a request. hyper calls this as soon as the head has arrived, while it polls the
    /// connection.
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let is_last = self.activity.is_old() && request.version() < Version::HTTP_2;
        let exchange = Exchange::begin(self.activity.clone());
        let in_progress = Some(InProgress(exchange.clone()));
        request.extensions_mut().insert(self.peer);
        let request = request.map(|inner| RequestBody {
            inner,
            exchange,
            has_ended: false,
        });
        CountedFuture {
            inner: self.inner.call(request),
            is_last,
            in_progress,
        }
    }
}

/// A request and its response.
#[derive(Debug)]
struct Exchange {
    activity: Arc<Activity>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the request body is waiting for the peer to send data.
    is_unsent: bool,
    /// Whether the response is waiting for the peer to read it.
    is_unread: bool,
    /// The bytes of the request body that have arrived since it last made progress.
    received: usize,
    has_ended: bool,
}

impl Exchange {
    fn begin(activity: Arc<Activity>) -> Arc<Self> {
        activity.begin();
        let state = Mutex::default();
        Arc::new(Self { activity, state })
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The service may keep a request's body after responding.
        if state.has_ended {
            return;
        }
        let waited = state.is_unsent || state.is_unread;
        change(&mut state);
        match (waited, state.is_unsent || state.is_unread) {
            (false, true) => self.activity.begin_waiting(),
            (true, false) => self.activity.end_waiting(),
            _ => {}
        }
    }
}

/// Keeps a request in progress until dropped.
#[derive(Debug)]
struct InProgress(Arc<Exchange>);

impl InProgress {
    fn set_unread(&self, is_unread: bool) {
        self.0.set(|state| state.is_unread = is_unread);
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.set(|state| {
            state.is_unsent = false;
            state.is_unread = false;
            state.has_ended = true;
        });
        self.0.activity.end();
    }
}

/// The body of a request that a [`Server`](crate::Server) received.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    exchange: Arc<Exchange>,
    has_ended: bool,
}

impl Body for RequestBody {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        self.has_ended = matches!(frame, Poll::Ready(None));
        let is_unsent = frame.is_pending();
        let data = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref(),
            _ => None,
        };
        let len = data.map_or(0, Bytes::len);
        self.exchange.set(|state| {
            state.is_unsent = is_unsent;
            state.received += len;
            if state.received >= PROGRESS {
                state.received = 0;
                self.exchange.activity.progress();
            }
        });
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.exchange.set(|state| state.is_unsent = false);
        let has_ended = self.has_ended || self.inner.is_end_stream();
        self.exchange.activity.end_body(has_ended);
    }
}

pin_project! {
    pub(crate) struct CountedFuture<F> {
        #[pin]
        inner: F,
        is_last: bool,
        in_progress: Option<InProgress>,
    }
}

impl<F, B: Body, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if *this.is_last {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let in_progress = this.in_progress.take();
        if let Some(request) = &in_progress {
            request.set_unread(!response.body().is_end_stream());
        }
        Poll::Ready(Ok(response.map(|inner| CountedBody { inner, in_progress })))
    }
}

pin_project! {
    /// The response body of a request in progress. hyper polls it only once the peer has received
    /// the previous frames.
    pub(crate) struct CountedBody<B> {
        #[pin]
        inner: B,
        in_progress: Option<InProgress>,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(request) = this.in_progress {
            request.set_unread(false);
        }
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(request) = this.in_progress {
            // hyper polls this body again only once the peer can receive the frame.
            request.set_unread(frame.is_some());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
