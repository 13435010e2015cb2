//! Runs a delivery's handler in a span, and reports handlers that fail, panic or are canceled.
//!
//! The span adds the delivery's id, type and endpoint to every line logged while the handler runs.

use std::{
    fmt::Display,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum_core::response::Response;
use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    log::{Span, delivery_span, enabled, in_current_span, log, log_limited},
    metrics, recorder,
    rejected::{self, RejectionLog},
    text::{escape, escape_display, milliseconds},
};

/// The fields that identify a verified delivery in the log and the metrics.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryFields<'a> {
    pub(crate) id: Option<&'a dyn Display>,
    /// The event type as the sender wrote it, or `None` if the body is not an event.
    pub(crate) event_type: Option<&'a str>,
    /// The name of the event type, if this version of the crate knows the type.
    pub(crate) known_type: Option<&'static str>,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) bytes: usize,
    pub(crate) matched_secret: usize,
    pub(crate) secret_label: Option<&'a str>,
}

pub(crate) struct HandlerWatch {
    span: Span,
    since: Instant,
    /// Set if the handler runs in a separate task, which keeps running even if the request is
    /// dropped.
    detached: Arc<AtomicBool>,
}

impl HandlerWatch {
    pub(super) fn has_span() -> bool {
        enabled!(span)
    }

    /// Starts watching a handler. If `delivery` is `None`, the handler gets no span.
    pub(super) fn start(delivery: Option<DeliveryFields<'_>>, detached: Arc<AtomicBool>) -> Self {
        Self {
            span: match delivery {
                Some(delivery) if Self::has_span() => delivery_span!(
                    id = delivery.id.map(escape_display),
                    event_type = delivery.event_type.map(escape),
                    endpoint = delivery.endpoint.map(escape),
                ),
                _ => Span::none(),
            },
            since: Instant::now(),
            detached,
        }
    }

    fn in_span<T>(&self, f: impl FnOnce() -> T) -> T {
        self.span.in_scope(f)
    }

    fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    fn canceled(&self) {
        log_limited!(
            warn,
            elapsed_ms = milliseconds(self.since.elapsed()),
            "webhook handler canceled: the request was dropped before the handler finished. Either \
             the sender or a proxy hung up (SoundHash waits 30 s), or a timeout of this application \
             expired, such as a TimeoutLayer outside of the verification. Respond sooner, or let the \
             handler run on with IdempotencyLayer::detach",
        );
        recorder::increment(metrics::CANCELED);
    }

    fn panicked(&self) {
        log_limited!(
            error,
            elapsed_ms = milliseconds(self.since.elapsed()),
            "webhook handler panicked: SoundHash gets no response from the handler, sends the event \
             again, and drops it after 7 minutes of retries",
        );
        recorder::increment(metrics::FAILED);
    }
}

pin_project! {
    /// A handler's future, which runs inside the delivery's span.
    ///
    /// If the future is dropped before it has finished, this is logged and counted as a canceled
    /// handler, and if it panics, as a failed one. A handler that continues in a separate task has a
    /// `Handling` of its own there.
    pub(crate) struct Handling<F> {
        // `None` once the future has been dropped, which happens inside the span.
        #[pin]
        future: Option<F>,
        watch: Option<HandlerWatch>,
        is_over: bool,
    }

    impl<F> PinnedDrop for Handling<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(watch) = this.watch.take() else {
                return;
            };
            watch.in_span(|| {
                if !*this.is_over && !watch.is_detached() {
                    watch.canceled();
                }
                this.future.set(None);
            });
        }
    }
}

impl<F> Handling<F> {
    /// Calls the inner service inside the span.
    #[inline]
    pub(crate) fn call(watch: Option<HandlerWatch>, call: impl FnOnce() -> F) -> Self {
        let future = match &watch {
            None => call(),
            Some(watch) => watch.in_span(call),
        };
        Self {
            future: Some(future),
            watch,
            is_over: false,
        }
    }

    /// Records the response if SoundHash counts it as a failure.
    #[inline]
    pub(crate) fn responded(&self, response: &Response, log: &RejectionLog) {
        if is_failure(response) {
            self.failed(response.status(), log);
        }
    }

    #[cold]
    fn failed(&self, status: StatusCode, log: &RejectionLog) {
        if let Some(watch) = &self.watch {
            watch.in_span(|| rejected::failed(log, status));
        }
    }
}

/// Records the response of a handler that ran on after the sender had hung up, if it is a failure.
pub(crate) fn unheard(response: &Response, log: &RejectionLog) {
    if is_failure(response) {
        rejected::failed(log, response.status());
    }
}

fn is_failure(response: &Response) -> bool {
    !response.status().is_success() && response.extensions().get::<Logged>().is_none()
}

/// The mark of a response whose reason has been logged.
#[derive(Clone, Copy)]
struct Logged;

/// Marks a response whose reason has been logged, so that it does not count as a failure of the
/// handler.
pub(crate) fn logged(mut response: Response) -> Response {
    response.extensions_mut().insert(Logged);
    response
}

/// Wraps the future of a handler that is about to run in a separate task, and attaches the caller's
/// span to it. If the runtime drops the task, the handler counts as canceled.
pub(crate) fn detached<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let watch = super::is_on().then(|| HandlerWatch::start(None, Arc::default()));
    in_current_span(Handling {
        future: Some(future),
        watch,
        is_over: false,
    })
}

/// Records a handler's successful response that SoundHash cannot decode.
pub(crate) fn undecodable_response(path: &str, problem: &'static str) {
    log!(
        warn,
        path = escape(path),
        "webhook response cannot be decoded: {problem}. SoundHash counts it as a failure and sends \
         the event again. Respond with an empty body or with UTF-8",
    );
}

impl<F: Future> Future for Handling<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("not dropped yet");
        let Some(watch) = this.watch else {
            return future.poll(cx);
        };
        let poll = watch.in_span(|| {
            // After a panic, which is passed on, nothing polls the future again.
            catch_unwind(AssertUnwindSafe(|| future.poll(cx))).inspect_err(|_| {
                if !watch.is_detached() {
                    watch.panicked();
                }
            })
        });
        *this.is_over = !matches!(poll, Ok(Poll::Pending));
        poll.unwrap_or_else(|panic| resume_unwind(panic))
    }
}
