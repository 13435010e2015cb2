//! Catches panics of code that users supply.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    thread,
};

use axum_core::BoxError;

/// Catches a panic in the future, which is not polled again after a panic.
///
/// `AssertUnwindSafe` is right here: the panic is either resumed or becomes an error. A store or a
/// provider that has panicked is called again, as it is after the end of any request that panics.
pub(crate) async fn catch_panic<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

/// Turns a panic in the function into `None`. The panic hook has already printed its message.
pub(crate) fn panic_as_none<T>(function: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(function)).ok().flatten()
}

/// Turns a panic in the future into an error. The panic hook has already printed its message.
pub(crate) async fn panic_as_error<T>(
    what: &str,
    future: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    let result = catch_panic(future).await;
    result.unwrap_or_else(|_| Err(format!("{what} panicked").into()))
}
