//! Connection metrics, and log lines limited to one a minute per reason.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::{limits::Limits, trouble::Trouble};

/// The time between two log lines about the same kind of error.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Report {
    limits: Arc<Limits>,
    summaries: Mutex<HashMap<&'static str, Summary>>,
}

/// The errors of one kind that have not been logged yet.
#[derive(Debug)]
struct Summary {
    count: u64,
    latest: Trouble,
    peer: Option<IpAddr>,
    logged_at: Option<Instant>,
}

impl Report {
    /// Creates the counters with a value of zero. Otherwise, an alert on a counter's increase would
    /// miss its first event.
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        #[cfg(feature = "metrics")]
        {
            metrics::counter!("soundhash_webhook_server_connections_total").increment(0);
            for trouble in Trouble::ALL {
                count(&trouble, 0);
            }
        }
        Self {
            limits,
            summaries: Mutex::default(),
        }
    }

    /// Immediately logs the first error of each kind in a minute. The next summary covers the
    /// others.
    pub(crate) fn note(&self, trouble: Trouble, peer: Option<IpAddr>) {
        #[cfg(feature = "metrics")]
        count(&trouble, 1);
        let mut summaries = self.lock();
        let summary = summaries.entry(trouble.name()).or_insert_with(|| Summary {
            count: 0,
            latest: trouble.clone(),
            peer,
            logged_at: None,
        });
        summary.count += 1;
        summary.latest = trouble;
        summary.peer = peer;
        summary.log_if_due(&self.limits);
    }

    /// Logs a summary of new errors every minute, forever.
    pub(crate) async fn log_every_minute(&self) {
        loop {
            sleep(INTERVAL).await;
            for summary in self.lock().values_mut() {
                summary.log_if_due(&self.limits);
            }
        }
    }

    /// Logs all errors that have not been logged yet.
    pub(crate) fn finish(&self) {
        for summary in self.lock().values_mut() {
            summary.log(&self.limits);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Summary>> {
        self.summaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "metrics")]
fn count(trouble: &Trouble, by: u64) {
    metrics::counter!("soundhash_webhook_server_troubles_total", "reason" => trouble.name())
        .increment(by);
}

pub(crate) fn count_opened() {
    #[cfg(feature = "metrics")]
    {
        metrics::counter!("soundhash_webhook_server_connections_total").increment(1);
        metrics::gauge!("soundhash_webhook_server_connections_open").increment(1.0);
    }
}

pub(crate) fn count_closed() {
    #[cfg(feature = "metrics")]
    metrics::gauge!("soundhash_webhook_server_connections_open").decrement(1.0);
}

impl Summary {
    fn log_if_due(&mut self, limits: &Limits) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.log(limits);
        }
    }

    fn log(&mut self, limits: &Limits) {
        if self.count == 0 {
            return;
        }
        let (reason, count) = (self.latest.name(), self.count);
        let peer = self.peer.map(tracing::field::display);
        warn!(reason, count, peer, "{}", self.latest.explain(limits));
        self.count = 0;
        self.logged_at = Some(Instant::now());
    }
}
