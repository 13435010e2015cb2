//! The layer that records requests and their responses.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::Request;
use pin_project_lite::pin_project;
use tower::{BoxError, Layer, Service};

use crate::{Inspector, application::Application, exchange::Pending};

/// The [`Layer`] of an [`Inspector`], which records requests and their responses.
///
/// Add it as the outermost layer. It changes neither requests nor responses. It does not read
/// bodies itself, but copies the frames that the application reads.
#[derive(Clone, Debug)]
pub struct InspectorLayer {
    inspector: Inspector,
}

impl Inspector {
    /// Returns the layer that records requests. Add it as the outermost layer.
    #[must_use]
    pub fn layer(&self) -> InspectorLayer {
        let inspector = self.clone();
        InspectorLayer { inspector }
    }
}

impl<S> Layer<S> for InspectorLayer {
    type Service = Inspect<S>;

    fn layer(&self, inner: S) -> Inspect<S> {
        Inspect {
            inner,
            inspector: self.inspector.clone(),
            application: Arc::default(),
        }
    }
}

/// The [`Service`] of [`InspectorLayer`].
#[derive(Clone)]
pub struct Inspect<S> {
    inner: S,
    inspector: Inspector,
    /// A clone of `inner` for requests that are sent again. All clones of this service share it.
    application: Arc<OnceLock<Application>>,
}

impl<S> Inspect<S> {
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

impl Application {
    /// Returns the application with the inspector's layer, for requests that are sent again.
    pub(crate) fn inspected(
        &self,
        inspector: Inspector,
    ) -> impl Service<Request<Body>, Response = Response, Error = (), Future: Send> + use<> {
        Inspect {
            inner: self.service(),
            inspector,
            application: Arc::new(self.clone().into()),
        }
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
        let application = self
            .application
            .get_or_init(|| Application::new(self.inner.clone()));
        let (pending, request) = Pending::new(&self.inspector, application, request.map(Body::new));
        ResponseFuture {
            future: self.inner.call(request),
            pending,
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
        Poll::Ready(match ready!(this.future.poll(cx)) {
            Ok(response) => Ok(this.pending.respond(response.into_response())),
            Err(error) => {
                this.pending.fail();
                Err(error)
            }
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
