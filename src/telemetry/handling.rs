//! Runs the handler of a delivery in a span, and reports handlers that are canceled.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::DeliveryFields;

/// Watches the handler of one delivery.
pub(crate) struct HandlerWatch(Arc<Watched>);

/// A reference to a [`HandlerWatch`] that does not keep its span open.
pub(crate) struct WeakWatch(Weak<Watched>);

impl WeakWatch {
    pub(crate) fn upgrade(&self) -> Option<HandlerWatch> {
        self.0.upgrade().map(HandlerWatch)
    }
}

struct Watched {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
    since: Instant,
    is_detached: AtomicBool,
}

impl HandlerWatch {
    /// Starts the watch. If `delivery` is `None`, the handler does not get a span.
    pub(super) fn start(delivery: Option<DeliveryFields<'_>>) -> Self {
        Self(Arc::new(Watched {
            #[cfg(feature = "tracing")]
            span: match delivery {
                Some(delivery) if super::log::has_span() => super::log::span(delivery),
                _ => tracing::Span::none(),
            },
            since: Instant::now(),
            is_detached: AtomicBool::new(false),
        }))
    }

    pub(crate) fn downgrade(&self) -> WeakWatch {
        WeakWatch(Arc::downgrade(&self.0))
    }

    fn in_span<T>(&self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        return self.0.span.in_scope(f);
        #[cfg(not(feature = "tracing"))]
        f()
    }

    fn canceled(&self) {
        #[cfg(feature = "tracing")]
        super::log::canceled(self.0.since.elapsed());
        #[cfg(feature = "metrics")]
        super::metrics::canceled();
    }
}

pin_project! {
    /// The future of a handler, in the span of its delivery.
    ///
    /// A future that is dropped before it has finished is logged and counted, unless the handler
    /// panicked or runs in a separate task.
    pub(crate) struct Handling<F> {
        // `None` once the future was dropped inside the span.
        #[pin]
        future: Option<F>,
        watch: Option<HandlerWatch>,
        is_task: bool,
        is_over: bool,
    }

    impl<F> PinnedDrop for Handling<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(watch) = this.watch.take() else {
                return;
            };
            watch.in_span(|| {
                let is_detached = !*this.is_task && watch.0.is_detached.load(Ordering::Relaxed);
                if !*this.is_over && !is_detached {
                    watch.canceled();
                }
                this.future.set(None);
            });
        }
    }
}

impl<F> Handling<F> {
    /// Calls an inner service.
    #[inline]
    pub(crate) fn call(watch: Option<HandlerWatch>, call: impl FnOnce() -> F) -> Self {
        let future = match &watch {
            None => call(),
            Some(watch) => watch.in_span(call),
        };
        Self {
            future: Some(future),
            watch,
            is_task: false,
            is_over: false,
        }
    }
}

/// Wraps a handler's future for a separate task, which keeps running if the request is dropped.
///
/// The task runs in the caller's span.
pub(crate) fn detached<F: Future>(
    watch: Option<HandlerWatch>,
    future: F,
) -> impl Future<Output = F::Output> {
    if let Some(watch) = &watch {
        watch.0.is_detached.store(true, Ordering::Relaxed);
    }
    super::in_current_span(Handling {
        future: Some(future),
        watch,
        is_task: true,
        is_over: false,
    })
}

impl<F: Future> Future for Handling<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("not dropped yet");
        let Some(watch) = this.watch else {
            return future.poll(cx);
        };
        // Set before the poll, so that a handler that panics is not reported as canceled.
        *this.is_over = true;
        let poll = watch.in_span(|| future.poll(cx));
        *this.is_over = poll.is_ready();
        poll
    }
}
