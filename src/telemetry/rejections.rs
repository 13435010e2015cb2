//! Limits how often a layer's rejections are logged: at most one line a minute for each reason.

use std::{
    fmt, mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Rejected, Severity};

/// The shortest time between two lines for the same reason.
const WINDOW: Duration = Duration::from_secs(60);

/// Logs the rejections of one layer.
///
/// The first rejection for a reason is logged at once. Rejections for the same reason in the next
/// minute are only counted. The first request after that minute, whether it is accepted or
/// rejected, logs the count. A rejection after a minute without rejections is again logged at once.
/// At `debug`, every rejection is logged.
pub(crate) struct RejectionLog {
    windows: Mutex<Vec<Window>>,
    /// Whether any window has a count that is not logged yet.
    pending: AtomicBool,
}

/// The time since the last line for a reason.
struct Window {
    reason: &'static str,
    severity: Severity,
    since: Instant,
    /// The number of rejections since then.
    count: u64,
    /// The path of the last rejection.
    path: String,
    endpoint: Option<String>,
}

/// The rejections of a [`Window`] that is over.
pub(super) struct Summary {
    pub(super) reason: &'static str,
    pub(super) severity: Severity,
    pub(super) count: u64,
    pub(super) window: Duration,
    pub(super) path: String,
    pub(super) endpoint: Option<String>,
}

impl RejectionLog {
    pub(super) const fn new() -> Self {
        Self {
            windows: Mutex::new(Vec::new()),
            pending: AtomicBool::new(false),
        }
    }

    pub(super) fn record(&self, rejected: &Rejected<'_>) {
        #[cfg(feature = "tracing")]
        {
            use super::log;

            let is_first = rejected.severity != Severity::Routine
                && log::logs(rejected.severity)
                && self.count(rejected);
            if is_first {
                log::first_rejection(rejected);
            } else {
                log::rejection(rejected);
            }
            self.log_summaries();
        }
    }

    /// Logs the count of each window that is over. This costs one atomic load if nothing was counted.
    pub(crate) fn log_summaries(&self) {
        #[cfg(feature = "tracing")]
        if self.pending.load(Ordering::Relaxed) {
            for summary in self.summaries() {
                super::log::summary(&summary);
            }
        }
    }

    /// Counts a rejection, or returns `true` if the rejection begins a window and must be logged at
    /// once.
    fn count(&self, rejected: &Rejected<'_>) -> bool {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|it| it.reason == rejected.reason);
        let Some(window) = known else {
            windows.push(Window {
                reason: rejected.reason,
                severity: rejected.severity,
                since: now,
                count: 0,
                path: String::new(),
                endpoint: None,
            });
            return true;
        };
        if window.count == 0 && now - window.since >= WINDOW {
            window.since = now;
            return true;
        }
        window.count += 1;
        window.path = super::escape(rejected.path);
        window.endpoint = rejected.endpoint.map(super::escape);
        self.pending.store(true, Ordering::Relaxed);
        false
    }

    /// Takes the counts of the windows that are over, and begins new windows.
    fn summaries(&self) -> Vec<Summary> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |it: &&mut Window| it.count > 0 && now - it.since >= WINDOW;
        let summaries = windows.iter_mut().filter(is_over).map(|window| Summary {
            reason: window.reason,
            severity: window.severity,
            count: mem::take(&mut window.count),
            window: now - mem::replace(&mut window.since, now),
            path: mem::take(&mut window.path),
            endpoint: window.endpoint.take(),
        });
        let summaries = summaries.collect();
        let pending = windows.iter().any(|window| window.count > 0);
        self.pending.store(pending, Ordering::Relaxed);
        summaries
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
