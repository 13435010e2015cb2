//! Requests to which a layer responds without calling the handler, logged at most once a minute per
//! reason.

use std::{
    error::Error,
    fmt::{self, Display},
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::{
    log::{enabled, log, log_limited},
    metrics, recorder,
    text::{chain, escape},
};

/// The minimum time between two log lines for the same reason.
const WINDOW: Duration = Duration::from_secs(60);

/// A request to which a layer responded without calling the handler.
#[derive(Clone, Copy)]
pub(crate) struct Rejected<'a> {
    /// The name of the reason, in snake case.
    pub(crate) reason: &'static str,
    /// The reason in words.
    pub(crate) message: &'a dyn Display,
    /// What the operator should do next.
    pub(crate) advice: &'static str,
    pub(crate) severity: Severity,
    pub(crate) source: Option<&'a (dyn Error + 'static)>,
    /// The request's path, without the query.
    pub(crate) path: Option<&'a str>,
    pub(crate) endpoint: Option<&'a str>,
}

/// The level at which a [`Rejected`] request is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Normal operation. Logged at `debug`.
    Routine,
    /// A sender's mistake or an attack. Logged at `warn`, with a rate limit.
    Warning,
    /// A failure of this service or of one that it depends on. Logged at `error`, with a rate
    /// limit.
    Failure,
}

/// Records that the verification layer rejected a request.
pub(crate) fn rejected(log: &RejectionLog, rejected: &Rejected<'_>) {
    log.record(rejected);
    recorder::delivery(metrics::DELIVERIES, rejected.reason, metrics::NO_TYPE);
}

/// Records that the idempotency layer responded without calling the handler.
pub(crate) fn skipped(log: &RejectionLog, rejected: &Rejected<'_>) {
    log.record(rejected);
    recorder::count(metrics::SKIPPED, "reason", rejected.reason);
}

/// Records a delivery of an event that was already completed.
pub(crate) fn duplicate(reason: &'static str) {
    log_limited!(
        info,
        reason = reason,
        "webhook already handled: the event was completed before, so the handler was not called",
    );
    recorder::count(metrics::SKIPPED, "reason", reason);
}

/// Records that an extractor ran in a handler that the verification layer does not protect.
pub(crate) fn layer_missing(path: &str) {
    // A static, because the layer that would otherwise hold the log is missing.
    static REJECTIONS: RejectionLog = RejectionLog::new();
    REJECTIONS.record(&Rejected {
        reason: "layer_missing",
        message: &"no SoundHashWebhookLayer around this handler",
        advice: "put one around its route, because nothing is verified and every request gets 500",
        severity: Severity::Failure,
        source: None,
        path: Some(path),
        endpoint: None,
    });
}

/// Records that a handler responded to a delivery with a status other than 2xx.
pub(super) fn failed(log: &RejectionLog, status: StatusCode) {
    let advice = match status.is_redirection() {
        true => "SoundHash follows the redirect, and may not send the event again",
        false => "SoundHash sends the event again, and drops it after 7 minutes of retries",
    };
    log.record(&Rejected {
        reason: "handler_failed",
        message: &format_args!("handler responded with {status}"),
        advice,
        severity: Severity::Failure,
        source: None,
        path: None,
        endpoint: None,
    });
    // There is no handler for such a path, to which anyone can send a recorded delivery.
    if status != StatusCode::NOT_FOUND {
        recorder::increment(metrics::FAILED);
    }
}

/// Logs the rejections of one layer.
///
/// The first rejection for a reason is logged immediately. Rejections for the same reason in the
/// next minute are only counted, and the first request after that minute, whether it is accepted or
/// rejected, logs the count. After a minute without rejections, the next one is logged immediately
/// again. At `debug`, every rejection is logged.
pub(crate) struct RejectionLog {
    windows: Mutex<Vec<Window>>,
    /// Whether any window has a count that has not been logged yet.
    pending: AtomicBool,
}

/// The period since the last log line for a reason.
struct Window {
    reason: &'static str,
    severity: Severity,
    since: Instant,
    /// The number of rejections counted after `since`, the time of the last log line.
    count: u64,
    /// The path of the last rejection.
    path: Option<String>,
    endpoint: Option<String>,
    /// The cause of the last failure, which can differ from the one that was logged.
    error: Option<String>,
}

impl RejectionLog {
    const fn new() -> Self {
        Self {
            windows: Mutex::new(Vec::new()),
            pending: AtomicBool::new(false),
        }
    }

    fn record(&self, rejected: &Rejected<'_>) {
        let is_first = rejected.severity.is_enabled() && self.count(rejected);
        rejected.log(is_first);
        self.log_summaries();
    }

    /// Logs the count of each window that has ended. If nothing was counted, this costs only one
    /// atomic load.
    pub(crate) fn log_summaries(&self) {
        if self.pending.load(Ordering::Relaxed) {
            for (window, time) in self.summaries() {
                window.log_summary(time);
            }
        }
    }

    /// Counts a rejection, or returns `true` if it starts a window and must be logged immediately.
    fn count(&self, rejected: &Rejected<'_>) -> bool {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|it| it.reason == rejected.reason);
        let Some(window) = known else {
            windows.push(Window::new(rejected.reason, rejected.severity, now));
            return true;
        };
        if window.count == 0 && now - window.since >= WINDOW {
            window.since = now;
            return true;
        }
        window.count += 1;
        window.path = rejected.path.map(escape);
        window.endpoint = rejected.endpoint.map(escape);
        window.error = rejected.cause();
        self.pending.store(true, Ordering::Relaxed);
        false
    }

    /// Returns each window that has ended, along with its length, and starts a new one in its
    /// place.
    fn summaries(&self) -> Vec<(Window, Duration)> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |it: &&mut Window| it.count > 0 && now - it.since >= WINDOW;
        let over = windows.iter_mut().filter(is_over).map(|window| {
            let new = Window::new(window.reason, window.severity, now);
            let over = mem::replace(window, new);
            let time = now - over.since;
            (over, time)
        });
        let over = over.collect();
        let pending = windows.iter().any(|window| window.count > 0);
        self.pending.store(pending, Ordering::Relaxed);
        over
    }
}

impl Default for RejectionLog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RejectionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionLog").finish_non_exhaustive()
    }
}

/// Logs a failure of this service at `error`, and everything else at `warn`.
macro_rules! warn_or_error {
    ($severity:expr, $($line:tt)*) => {
        match $severity {
            Severity::Failure => log!(error, $($line)*),
            _ => log!(warn, $($line)*),
        }
    };
}

impl Severity {
    /// Returns whether this severity is logged at a level above `debug`.
    fn is_enabled(self) -> bool {
        match self {
            Self::Routine => false,
            Self::Warning => enabled!(WARN),
            Self::Failure => enabled!(ERROR),
        }
    }
}

impl Rejected<'_> {
    /// Returns the cause of a failure.
    fn cause(&self) -> Option<String> {
        let message = || escape(&self.message.to_string());
        let cause = || self.source.map_or_else(message, chain);
        (self.severity == Severity::Failure).then(cause)
    }

    /// Logs the first rejection in a window along with advice, and all others at `debug`.
    fn log(&self, is_first: bool) {
        if is_first {
            warn_or_error!(
                self.severity,
                reason = self.reason,
                path = self.path.map(escape),
                endpoint = self.endpoint.map(escape),
                error = self.source.map(chain),
                "webhook rejected: {}: {}",
                self.message,
                self.advice,
            );
        } else {
            log!(
                debug,
                reason = self.reason,
                path = self.path.map(escape),
                endpoint = self.endpoint.map(escape),
                error = self.source.map(chain),
                "webhook rejected: {}",
                self.message,
            );
        }
    }
}

impl Window {
    fn new(reason: &'static str, severity: Severity, since: Instant) -> Self {
        Self {
            reason,
            severity,
            since,
            count: 0,
            path: None,
            endpoint: None,
            error: None,
        }
    }

    fn log_summary(&self, time: Duration) {
        let (count, reason) = (self.count, self.reason);
        let requests = if count == 1 { "request" } else { "requests" };
        let minutes = match (time.as_secs() + 30) / 60 {
            0 | 1 => "minute".to_owned(),
            minutes => format!("{minutes} minutes"),
        };
        // Logged outside of any span, because the request that happens to end the window is
        // unrelated to the summary.
        warn_or_error!(
            self.severity,
            parent: None,
            reason = reason,
            count = count,
            window_s = time.as_secs_f64(),
            path = self.path,
            endpoint = self.endpoint,
            error = self.error,
            "{count} {requests} rejected in the last {minutes}: {reason} {count}",
        );
    }
}
