//! A service that notes which requests are in progress, until their response's body has ended.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::activity::Activity;

#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, peer: SocketAddr, activity: Arc<Activity>) -> Self {
        Self {
            inner,
            peer,
            activity,
        }
    }
}

impl<S, R, B> Service<Request<R>> for Counted<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let is_last = self.activity.is_old() && request.version() < Version::HTTP_2;
        let in_progress = InProgress::new(self.activity.clone());
        request.extensions_mut().insert(self.peer);
        CountedFuture {
            inner: self.inner.call(request),
            is_last,
            in_progress: Some(in_progress),
        }
    }
}

/// A request in progress, until this is dropped.
#[derive(Debug)]
struct InProgress {
    activity: Arc<Activity>,
    is_unread: bool,
}

impl InProgress {
    fn new(activity: Arc<Activity>) -> Self {
        activity.begin();
        Self {
            activity,
            is_unread: false,
        }
    }

    /// Notes whether the response waits for the peer to read.
    fn set_unread(&mut self, is_unread: bool) {
        match (self.is_unread, is_unread) {
            (false, true) => self.activity.begin_unread(),
            (true, false) => self.activity.end_unread(),
            _ => {}
        }
        self.is_unread = is_unread;
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.set_unread(false);
        self.activity.end();
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
        let mut in_progress = this.in_progress.take();
        if let Some(request) = &mut in_progress {
            request.set_unread(!response.body().is_end_stream());
        }
        Poll::Ready(Ok(response.map(|inner| CountedBody { inner, in_progress })))
    }
}

pin_project! {
    /// The body of a response to a request that is in progress. hyper polls it only when the peer
    /// has received what came before.
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
            // hyper holds the frame, and then this body, until the peer can receive the frame.
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
