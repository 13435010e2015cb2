//! Macros that log through `tracing`, or do nothing without the `tracing` feature.

/// The target of every log line, so that users' filters do not depend on the crate's modules.
#[cfg(feature = "tracing")]
pub(super) const TARGET: &str = "soundhash_webhook";

/// Logs a line with a level, fields and a message.
#[cfg(feature = "tracing")]
macro_rules! log {
    ($level:ident, $($line:tt)*) => {
        tracing::$level!(target: $crate::telemetry::log::TARGET, $($line)*)
    };
}

/// Uses the arguments without evaluating them, to avoid warnings about unused variables.
#[cfg(not(feature = "tracing"))]
macro_rules! log {
    ($level:ident, parent: None, $($line:tt)*) => {
        log!($level, $($line)*)
    };
    (
        $level:ident, $($name:ident = $value:expr,)* $message:literal $(, $argument:expr)* $(,)?
    ) => {{
        let _ = || {
            $(let _ = &$value;)*
            let _ = format_args!($message $(, $argument)*);
        };
    }};
}
pub(super) use log;

/// Returns whether log lines at the given level are enabled, or whether spans are.
#[cfg(feature = "tracing")]
macro_rules! enabled {
    (span) => {
        tracing::span_enabled!(target: $crate::telemetry::log::TARGET, tracing::Level::ERROR)
    };
    ($level:ident) => {
        tracing::enabled!(target: $crate::telemetry::log::TARGET, tracing::Level::$level)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! enabled {
    ($level:ident) => {
        false
    };
}
pub(super) use enabled;

/// Creates the span for a delivery. Its level is `error`, so that a filter that lets any log line
/// through also lets the span through.
#[cfg(feature = "tracing")]
macro_rules! delivery_span {
    ($($field:tt)*) => {
        tracing::error_span!(target: $crate::telemetry::log::TARGET, "soundhash_webhook.delivery", $($field)*)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! delivery_span {
    ($($name:ident = $value:expr),* $(,)?) => {{
        let _ = || {
            $(let _ = &$value;)*
        };
        $crate::telemetry::log::Span::none()
    }};
}
pub(super) use delivery_span;

#[cfg(feature = "tracing")]
pub(super) use tracing::Span;

#[cfg(not(feature = "tracing"))]
pub(super) struct Span;

#[cfg(not(feature = "tracing"))]
impl Span {
    pub(super) fn none() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "like the span of `tracing`")]
    pub(super) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }
}

/// Attaches the caller's span to a future that is about to be spawned.
pub(crate) fn in_current_span<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let future = tracing::Instrument::in_current_span(future);
    future
}
