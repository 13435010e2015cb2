//! The output of `send` and `replay`: a line for each delivery, or a bar and a summary for many.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};

use super::attempts::Delivered;
use crate::{
    error::Error,
    escape::{escape, excerpt},
    http::milliseconds,
    output::{self, BAD, BOLD, DIM, GOOD, WARNING, paint},
};

/// The most deliveries that have a line each: all samples of both senders.
const MOST_LINES: u64 = 24;

/// The answer that counts as a success.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Expected {
    Accepted,
    Rejected,
}

pub(crate) struct Report {
    expected: Expected,
    /// Hidden if each delivery has a line, and if standard error is not a terminal.
    bar: ProgressBar,
    has_lines: bool,
    start: Instant,
    failed: u64,
    results: BTreeMap<String, u64>,
    durations: Vec<Duration>,
    first_failure: Option<String>,
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
        }
    }

    /// Returns a function that reports a retry.
    pub(crate) fn retries(&self) -> impl Fn(&Delivered, Duration) + use<> {
        let bar = self.bar.clone();
        move |delivered, delay| {
            let line = format!(
                "{}  retry in {}",
                line(delivered, Expected::Accepted),
                milliseconds(delay)
            );
            bar.suspend(|| output::note(line));
        }
    }

    /// Counts and prints the result of a delivery.
    pub(crate) fn add(&mut self, delivered: &Delivered) -> Result<(), Error> {
        let is_success = is_success(delivered, self.expected);
        self.failed += u64::from(!is_success);
        if self.has_lines {
            output::line(line(delivered, self.expected))?;
            if let Some(text) = answer_text(delivered).filter(|_| !is_success) {
                output::line(format_args!("  {}", paint(DIM, text)))?;
            }
            return Ok(());
        }
        *self.results.entry(result(delivered)).or_default() += 1;
        if let Ok(answer) = &delivered.result {
            self.durations.push(answer.duration);
        }
        if !is_success && self.first_failure.is_none() {
            let text = answer_text(delivered).map(|text| format!(": {text}"));
            self.first_failure = Some(result(delivered) + &text.unwrap_or_default());
        }
        if self.failed > 0 {
            self.bar.set_message(format!("{} failed", self.failed));
        }
        self.bar.inc(1);
        Ok(())
    }

    /// Prints the summary of many deliveries, and returns whether every result is as expected.
    pub(crate) fn finish(mut self) -> Result<bool, Error> {
        self.bar.finish_and_clear();
        if !self.has_lines {
            self.summary()?;
        }
        if self.failed == 0 && self.expected == Expected::Rejected {
            output::note("Rejected, as forged events should be.");
        }
        Ok(self.failed == 0)
    }

    fn summary(&mut self) -> Result<(), Error> {
        let total: u64 = self.results.values().sum();
        let took = milliseconds(self.start.elapsed());
        output::line(paint(BOLD, format_args!("{total} sent in {took}")))?;
        for (result, count) in &self.results {
            output::line(format_args!("  {count:>7}  {result}"))?;
        }
        self.durations.sort_unstable();
        if let [.., slowest] = self.durations[..] {
            let at =
                |share: usize| milliseconds(self.durations[self.durations.len() * share / 100]);
            output::line(format_args!(
                "Answers took {} (median), {} (99th percentile), {} (slowest).",
                at(50),
                at(99),
                milliseconds(slowest)
            ))?;
        }
        if let Some(failure) = &self.first_failure {
            output::line(format_args!("First failure: {}", paint(BAD, failure)))?;
        }
        Ok(())
    }
}

fn is_success(delivered: &Delivered, expected: Expected) -> bool {
    (delivered.result.as_ref()).is_ok_and(|answer| match expected {
        Expected::Accepted => answer.status.is_success(),
        // The reference receivers answer 401. Services in other languages choose their own.
        Expected::Rejected => matches!(
            answer.status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ),
    })
}

/// Displays the status, or the reason for a missing answer.
fn result(delivered: &Delivered) -> String {
    match &delivered.result {
        Ok(answer) => answer.status.to_string(),
        Err(error) => error.to_string(),
    }
}

fn line(delivered: &Delivered, expected: Expected) -> impl fmt::Display + use<> {
    let style = if is_success(delivered, expected) {
        GOOD
    } else if delivered.result.is_ok() {
        WARNING
    } else {
        BAD
    };
    let duration = match &delivered.result {
        Ok(answer) => format!("{:>9}", milliseconds(answer.duration)),
        Err(_) => String::new(),
    };
    let name = escape(&delivered.name);
    // The color must not count towards the width.
    let result = paint(style, format_args!("{:<25}", result(delivered)));
    format!("{name}  {result}{duration}")
}

/// Returns the beginning of what the receiver wrote.
fn answer_text(delivered: &Delivered) -> Option<String> {
    let answer = delivered.result.as_ref().ok()?;
    Some(excerpt(&answer.text(), 300)).filter(|text| !text.is_empty())
}
