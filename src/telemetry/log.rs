//! Macros that log through `tracing`, or do nothing without the `tracing` feature.

#[cfg(feature = "tracing")]
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

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

/// Logs a line about an authentic delivery, which an attacker who has recorded one can repeat. After
/// [`MAX_LINES`] of these lines within a minute, the others are logged at `debug`.
#[cfg(feature = "tracing")]
macro_rules! log_limited {
    (@level info) => { tracing::Level::INFO };
    (@level warn) => { tracing::Level::WARN };
    (@level error) => { tracing::Level::ERROR };
    ($level:ident, $($line:tt)*) => {{
        static LIMIT: $crate::telemetry::log::Limit = $crate::telemetry::log::Limit::new();
        const LEVEL: tracing::Level = $crate::telemetry::log::log_limited!(@level $level);
        match tracing::enabled!(target: $crate::telemetry::log::TARGET, LEVEL) && !LIMIT.allows() {
            false => log!($level, $($line)*),
            true => log!(debug, $($line)*),
        }
    }};
}

#[cfg(not(feature = "tracing"))]
macro_rules! log_limited {
    ($($line:tt)*) => { log!($($line)*) };
}
pub(super) use log_limited;

/// The maximum number of lines of one kind per minute.
#[cfg(feature = "tracing")]
const MAX_LINES: u32 = 1_000;

/// The beginning of a minute, and the number of lines since.
#[cfg(feature = "tracing")]
pub(super) struct Limit(Mutex<Option<(Instant, u32)>>);

#[cfg(feature = "tracing")]
impl Limit {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts a line, and returns whether it may be logged.
    pub(super) fn allows(&self) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, count) = minute.get_or_insert((now, 0));
        if now - *since >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        let count = *count;
        drop(minute);
        if count == MAX_LINES {
            log!(
                warn,
                "{MAX_LINES} lines like the next one within a minute: the rest is logged at debug level"
            );
        }
        count <= MAX_LINES
    }
}

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
