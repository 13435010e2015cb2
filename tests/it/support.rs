//! Code shared by several tests: scripted bodies, requests, and a service that returns its input.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use soundhash_webhook::{
    Delivery, Rejection, RejectionKind, SecretProvider, SoundHashWebhook, SoundHashWebhookLayer,
};
pub(crate) use soundhash_webhook_tests::requests::*;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

/// The result of one poll of a scripted body.
#[derive(Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers,
    /// Returns `Pending` once, after waking the task.
    Yield,
    Error,
    /// Pending forever.
    Stall,
    /// The same frame, endlessly repeated.
    Endless(Bytes),
    /// All frames of another body.
    Body(Body),
}

pub(crate) fn data(bytes: &'static [u8]) -> Step {
    Step::Data(Bytes::from_static(bytes))
}

/// A body that follows a script. It never announces its end in advance, and declares its length
/// only with [`declaring`](Self::declaring).
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    declared: Option<u64>,
    polls: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            declared: None,
            polls: Arc::default(),
        }
    }

    /// Declares this length, as a server does for a body with a `Content-Length`.
    pub(crate) fn declaring(mut self, len: u64) -> Self {
        self.declared = Some(len);
        self
    }

    /// Returns the number of polls, which can be read even after the body is gone.
    pub(crate) fn polls(&self) -> Arc<AtomicUsize> {
        self.polls.clone()
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // The test should fail instead of running forever.
        let polls = self.polls.fetch_add(1, Ordering::Relaxed);
        assert!(polls < 1_000_000, "nothing stops the reader");
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Error) => Poll::Ready(Some(Err("connection reset"))),
            Some(Step::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stall) => {
                self.steps.push_front(Step::Stall);
                Poll::Pending
            }
            Some(Step::Endless(bytes)) => {
                self.steps.push_front(Step::Endless(bytes.clone()));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Step::Body(mut body)) => {
                let frame = Pin::new(&mut body).poll_frame(cx);
                if !matches!(frame, Poll::Ready(None)) {
                    self.steps.push_front(Step::Body(body));
                }
                frame.map_err(|_| "the other body broke off")
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.declared
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Returns the layer around a service that echoes the body and puts its [`Delivery`] into the
/// response's extensions.
#[expect(clippy::needless_pass_by_value, reason = "layers are made in place")]
pub(crate) fn echo<P: SecretProvider>(
    layer: SoundHashWebhookLayer<P>,
) -> SoundHashWebhook<
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send,
    P,
> {
    layer.layer(service_fn(|request: Request<Body>| async {
        let (head, body) = request.into_parts();
        let mut response = Response::new(body);
        if let Some(delivery) = head.extensions.get::<Delivery>() {
            response.extensions_mut().insert(delivery.clone());
        }
        Ok::<_, Infallible>(response)
    }))
}

/// Returns the outcome of a request: the verified bytes, or why it was rejected.
pub(crate) async fn outcome<S, B>(service: S, request: Request<B>) -> Result<Bytes, RejectionKind>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    let rejection = response.extensions().get::<Rejection>().cloned();
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    match rejection {
        None => {
            assert_eq!(status, StatusCode::OK);
            Ok(body)
        }
        Some(rejection) => {
            assert_eq!(status, rejection.status());
            Err(rejection.kind())
        }
    }
}
