//! The result of a check, and the report of all checks.

use std::io::{self, IsTerminal};

use anstyle::Style;
use serde::Serialize;

use crate::output::{
    self, BAD, BOLD, GOOD, INFO, WARNING,
    escape::{escape, json},
    paint,
};

/// The widths of the first two columns.
const VERDICT: usize = 9;
const NAME: usize = 18;

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
    Unknown,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Failed, Self::Unknown];

    fn shown(self) -> (&'static str, Style) {
        match self {
            Self::Ok => ("ok", GOOD),
            Self::Warning => ("warning", WARNING),
            Self::Failed => ("failed", BAD.bold()),
            Self::Unknown => ("unknown", INFO),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    pub(super) result: Verdict,
    seen: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cure: String,
}

impl Check {
    pub(super) fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, name, seen, "")
    }

    /// Creates a result. `seen` describes what the receiver did, and `cure` says how to fix it.
    pub(super) fn new(
        result: Verdict,
        name: &'static str,
        seen: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            name,
            result,
            seen: seen.into(),
            cure: cure.into(),
        }
    }

    /// Downgrades a failure to a warning, for requests that SoundHash does not currently send.
    pub(super) fn at_most_warning(mut self) -> Self {
        if self.result == Verdict::Failed {
            self.result = Verdict::Warning;
        }
        self
    }

    pub(super) fn is_ok(&self) -> bool {
        self.result == Verdict::Ok
    }
}

pub(super) struct Report {
    json: bool,
    results: Vec<Verdict>,
    last_cure: String,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            results: Vec::new(),
            last_cure: String::new(),
        }
    }

    pub(super) fn add(&mut self, check: &Check) {
        self.results.push(check.result);
        if self.json {
            output::line(json(check));
            return;
        }
        let (verdict, style) = check.result.shown();
        output::line(format_args!(
            "{}{:<NAME$}{}",
            paint(style, format_args!("{verdict:<VERDICT$}")),
            check.name,
            indented(&check.seen, VERDICT + NAME)
        ));
        if check.cure.is_empty() || check.cure == self.last_cure {
            return;
        }
        self.last_cure.clone_from(&check.cure);
        let cure = indented(&check.cure, VERDICT + 2);
        output::line(format_args!("{:VERDICT$}  {cure}", ""));
    }

    /// Prints the summary. Returns `false` if any check failed.
    pub(super) fn finish(&self) -> bool {
        let count = |verdict| self.results.iter().filter(|it| **it == verdict).count();
        if !self.json {
            let given = Verdict::ALL.into_iter().filter(|it| count(*it) > 0);
            let counts = given.map(|verdict| {
                let (name, style) = verdict.shown();
                paint(style, format_args!("{} {name}", count(verdict)))
            });
            let counts: Vec<_> = counts.collect();
            let checks = paint(BOLD, format_args!("{} checks", self.results.len()));
            output::line(format_args!("\n{checks}: {}", counts.join(", ")));
        }
        count(Verdict::Failed) == 0
    }
}

/// Wraps untrusted text to fit the terminal, and indents all lines but the first.
fn indented(text: &str, indent: usize) -> String {
    let text = escape(text);
    if !io::stdout().is_terminal() {
        return text;
    }
    let width = output::columns().min(100).saturating_sub(indent);
    output::wrapped(&text, width).replace('\n', &format!("\n{:indent$}", ""))
}
