//! Limits the lines of each kind, so that an attacker cannot fill the disk by causing them.

use std::{
    mem,
    time::{Duration, Instant},
};

use crate::output;

/// The maximum number of lines of one kind per minute.
const MAX_LINES: u32 = 1_000;

/// The number of lines of one kind since the beginning of a minute.
pub(super) struct Limit {
    kind: &'static str,
    since: Instant,
    count: u32,
}

impl Limit {
    /// `kind` says in the plural what the lines are about.
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            since: Instant::now(),
            count: 0,
        }
    }

    /// Counts a line, and returns whether it may be printed.
    pub(super) fn allows(&mut self) -> bool {
        self.report_last_minute();
        self.count = self.count.saturating_add(1);
        if self.count == MAX_LINES + 1 {
            output::warning(format_args!(
                "more than {MAX_LINES} {} within a minute: the rest is only counted",
                self.kind
            ));
        }
        self.count <= MAX_LINES
    }

    /// Begins another minute if the last one is over.
    pub(super) fn report_last_minute(&mut self) {
        if self.since.elapsed() >= Duration::from_secs(60) {
            self.report();
            self.since = Instant::now();
        }
    }

    /// Reports the number of lines that were not printed.
    pub(super) fn report(&mut self) {
        let unprinted = mem::take(&mut self.count).saturating_sub(MAX_LINES);
        if unprinted > 0 {
            output::warning(format_args!("{unprinted} {} were not printed", self.kind));
        }
    }
}
