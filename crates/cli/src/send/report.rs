//! The output of `send` and `replay`: a line for each delivery, or a progress bar and a summary if
//! there are many.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::attempts::Delivered;
use crate::{
    output::{
        self, BAD, BOLD, DIM, GOOD, WARNING,
        escape::{escape, excerpt},
        paint,
    },
    url::milliseconds,
};

/// The maximum number of deliveries that each get their own line. `send --all` sends 24 events.
const MOST_LINES: u64 = 24;
/// The width of a line with the longest reason phrase.
const WIDE: usize = 72;

/// The kind of response that counts as a success.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Expected {
    Accepted,
    Rejected,
}

pub(crate) struct Report {
    expected: Expected,
    /// Hidden if each delivery has its own line, or if standard error is not a terminal.
    bar: ProgressBar,
    has_lines: bool,
    start: Instant,
    failed: u64,
    results: BTreeMap<String, u64>,
    durations: Vec<Duration>,
    first_failure: Option<String>,
    /// The redirect warnings printed so far. Each is printed only once.
    redirects: BTreeSet<String>,
}

impl Report {
    pub(crate) fn new(total: u64, expected: Expected) -> Self {
        let has_lines = total <= MOST_LINES;
        let bar = if has_lines {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template(
                "{bar:30}  {human_pos} of {human_len}  {eta} left  {msg}",
            );
            ProgressBar::new(total).with_style(style.expect("a valid template"))
        };
        Self {
            expected,
            bar,
            has_lines,
            start: Instant::now(),
            failed: 0,
            results: BTreeMap::new(),
            durations: Vec::new(),
            first_failure: None,
            redirects: BTreeSet::new(),
        }
    }

    /// Returns a function that prints a line for each attempt that will be retried.
    pub(crate) fn retries(&self) -> impl Fn(&Delivered, Duration) + use<> {
        let bar = self.bar.clone();
        move |delivered, delay| {
            let delay = milliseconds(delay);
            let line = format!("{}  retry in {delay}", line(delivered, Expected::Accepted));
            match bar.is_hidden() {
                true => output::note(line),
                false => bar.println(line),
            }
        }
    }

    /// Counts and prints the result of a delivery.
    pub(crate) fn add(&mut self, delivered: &Delivered) {
        let is_success = is_success(delivered, self.expected);
        self.failed += u64::from(!is_success);
        if self.has_lines {
            output::line(line(delivered, self.expected));
            if let Some(text) = details(delivered).filter(|_| !is_success) {
                let text = match io::stdout().is_terminal() {
                    true => output::wrapped(&text, output::columns().saturating_sub(2)),
                    false => text,
                };
                for line in text.lines() {
                    output::line(format_args!("  {}", paint(DIM, line)));
                }
            }
        } else {
            self.count(delivered, is_success);
        }
        for redirect in &delivered.redirects {
            let text = redirect.to_string();
            if self.redirects.insert(text.clone()) {
                self.bar.suspend(|| output::warning(text));
            }
        }
    }

    fn count(&mut self, delivered: &Delivered, is_success: bool) {
        *self.results.entry(result(delivered)).or_default() += 1;
        if let Ok(response) = &delivered.result {
            self.durations.push(response.duration);
        }
        if !is_success && self.first_failure.is_none() {
            let text = details(delivered).map(|text| format!(": {text}"));
            self.first_failure = Some(result(delivered) + &text.unwrap_or_default());
        }
        if self.failed > 0 {
            self.bar.set_message(format!("{} failed", self.failed));
        }
        self.bar.inc(1);
    }

    /// Prints a summary of the deliveries, and returns whether every result is as expected.
    pub(crate) fn finish(mut self) -> bool {
        self.bar.finish_and_clear();
        if !self.has_lines {
            self.summary();
        }
        if self.failed == 0 && self.expected == Expected::Rejected {
            output::note("Rejected, as forged events should be.");
        }
        self.failed == 0
    }

    fn summary(&mut self) {
        let total: u64 = self.results.values().sum();
        let took = milliseconds(self.start.elapsed());
        output::line(paint(BOLD, format_args!("{total} sent in {took}")));
        for (result, count) in &self.results {
            output::line(format_args!("  {count:>7}  {result}"));
        }
        self.durations.sort_unstable();
        if let [.., slowest] = self.durations[..] {
            let at =
                |share: usize| milliseconds(self.durations[self.durations.len() * share / 100]);
            output::paragraph(format_args!(
                "Responses took {} (median), {} (99th percentile), {} (slowest).",
                at(50),
                at(99),
                milliseconds(slowest)
            ));
        }
        if let Some(failure) = &self.first_failure {
            output::paragraph(format_args!("First failure: {}", paint(BAD, failure)));
        }
    }
}

fn is_success(delivered: &Delivered, expected: Expected) -> bool {
    match (expected, &delivered.result) {
        (Expected::Accepted, _) => delivered.is_handled(),
        // Receivers that use this crate reject forged events with 401. Other receivers may choose
        // another status.
        (Expected::Rejected, Ok(response)) => {
            matches!(response.status.as_u16(), 400 | 401 | 403) && !delivered.is_lost()
        }
        (Expected::Rejected, Err(_)) => false,
    }
}

/// Formats the outcome of a delivery in a few words, such as its status or `no response`.
fn result(delivered: &Delivered) -> String {
    match &delivered.result {
        Ok(response) if delivered.is_lost() => format!("lost ({})", response.status.as_u16()),
        Ok(response) if delivered.not_recorded.is_some() => {
            format!("not recorded ({})", response.status.as_u16())
        }
        Ok(response) => response.status.to_string(),
        Err(_) => "no response".to_owned(),
    }
}

/// Formats a delivery as one line.
fn line(delivered: &Delivered, expected: Expected) -> String {
    let style = if is_success(delivered, expected) {
        GOOD
    } else if delivered.result.is_ok() && !delivered.is_lost() {
        WARNING
    } else {
        BAD
    };
    let name = escape(&delivered.name);
    let Ok(response) = &delivered.result else {
        return format!("{name}  {}", paint(style, result(delivered)));
    };
    let duration = milliseconds(response.duration);
    // The text is padded before it is colored, so that color codes do not count towards the width.
    let result = result(delivered);
    match output::columns() < WIDE && io::stdout().is_terminal() {
        true => format!("{name}  {}  {duration}", paint(style, result)),
        false => format!(
            "{name}  {}{duration:>9}",
            paint(style, format_args!("{result:<25}"))
        ),
    }
}

/// Returns the reason why the event was not recorded or why no response arrived, or else the
/// beginning of the response's body.
pub(crate) fn details(delivered: &Delivered) -> Option<String> {
    if let Some(cause) = &delivered.not_recorded {
        return Some(cause.clone());
    }
    match &delivered.result {
        Ok(response) => Some(excerpt(&response.text(), 300)).filter(|text| !text.is_empty()),
        Err(error) => Some(error.to_string()),
    }
}
