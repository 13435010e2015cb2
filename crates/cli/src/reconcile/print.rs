//! Prints a report: tables for people, JSON, and a file for Prometheus.

use std::{fmt::Write, fs, path::Path};

use anstyle::Style;
use jiff::Timestamp;
use serde_json::json;
use soundhash_webhook_reconcile::{Fate, Report, SignedDuration, Verdict};

use crate::{
    api::model::local,
    endpoints::deliveries::print_failed,
    error::Error,
    output::{
        self, BAD, GOOD,
        escape::{escape, pretty_json},
        paint,
        table::{self, cell, number, plain},
    },
};

pub(super) fn json(report: &Report) -> String {
    let mut value = json!(report);
    value["verdict"] = json!(report.verdict());
    value["missing"] = json!(report.missing());
    pretty_json(&value)
}

pub(super) fn report(report: &Report, is_json: bool) -> Result<(), Error> {
    for unseen in &report.unseen {
        let shown = Timestamp::now().duration_since(unseen.until);
        output::warning(format_args!(
            "SoundHash's API shows the attempts of endpoint {} only since {}. Run this command more \
             often than every {:#}, with a shorter --since.",
            escape(&unseen.endpoint.to_string()),
            local(unseen.until),
            SignedDuration::from_mins(shown.as_mins()),
        ));
    }
    if is_json {
        return output::line(json(report));
    }
    let mut fields = vec![
        (
            "window",
            plain(format!(
                "{} to {}",
                local(report.since),
                local(report.until)
            )),
        ),
        ("delivered", plain(report.delivered)),
    ];
    if let Some(recorded) = report.recorded {
        fields.push(("recorded", plain(recorded)));
    }
    let style = if report.missing() > 0 {
        BAD
    } else {
        Style::new()
    };
    fields.push(("missing", cell(style, missing(report))));
    table::print_fields(&fields)?;
    if !report.failed.is_empty() {
        output::line("\nSoundHash did not deliver these events:")?;
        print_failed(&report.failed)?;
    }
    if !report.gaps.is_empty() {
        output::line("\nSoundHash delivered more events than were recorded here:")?;
        print_gaps(report)?;
        output::note(
            "\nSomething else may have responded to SoundHash with 2xx, such as a redirect, a \
             login page or a proxy.",
        );
    }
    remarks(report);
    if report.verdict() == Verdict::Complete {
        output::note(paint(GOOD, "Every event arrived."));
    }
    Ok(())
}

/// Prints the limits of the result.
fn remarks(report: &Report) {
    if report.recorded.is_none() {
        output::note(
            "Events that SoundHash delivered were not compared with records. Give them with \
             --recorded.",
        );
    }
    if report.extra > 0 && report.recorded == Some(0) && report.delivered > 0 {
        output::note(format_args!(
            "No record has the time of a delivery. Check that the {} records are of these endpoints, \
             and that all clocks are right.",
            report.extra
        ));
    } else if report.extra > 0 {
        output::note(format_args!(
            "Records without an event in SoundHash's log: {}. They are test events, or events of \
             endpoints that were not compared. Each can hide a missing event of the same time.",
            report.extra
        ));
    }
}

fn missing(report: &Report) -> String {
    // Whether each of these events is missing is certain.
    let is_exact = report.gaps.iter().all(|gap| gap.recorded == 0) && report.unseen.is_empty();
    match report.missing() {
        missing if is_exact => missing.to_string(),
        missing => format!("at least {missing}"),
    }
}

fn print_gaps(report: &Report) -> Result<(), Error> {
    let rows: Vec<_> = (report.gaps.iter())
        .map(|gap| {
            let missing = match gap.recorded {
                0 => format!("all {}", gap.missing),
                _ => format!("at least {}", gap.missing),
            };
            [
                plain(local(gap.since)),
                plain(local(gap.until)),
                number(Style::new(), gap.delivered),
                number(Style::new(), gap.recorded),
                cell(BAD, missing),
            ]
        })
        .collect();
    table::print(["FROM", "UNTIL", "DELIVERED", "RECORDED", "MISSING"], &rows)
}

/// Replaces the file in one step, because the collector may read it at any time.
pub(super) fn write_prometheus(report: &Report, path: &Path) -> Result<(), Error> {
    // The collector only reads files that end with .prom.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, prometheus(report))
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| {
            let path = escape(&path.display().to_string());
            Error::failed(format!("--prometheus {path}: {error}"))
        })
}

fn prometheus(report: &Report) -> String {
    let waiting = report
        .failed
        .iter()
        .filter(|it| it.fate == Fate::Waiting)
        .count();
    let verdict = match report.verdict() {
        Verdict::Complete => 0,
        Verdict::Missing => 1,
        Verdict::Unknown => 2,
    };
    let unseen = report
        .unseen
        .iter()
        .map(|it| it.until.duration_since(it.since).as_secs())
        .max();
    let seconds = |time: Timestamp| time.as_second().to_string();
    let metrics = [
        (
            "status",
            "0 if every event arrived, 1 if one is missing, 2 if this is unknown.",
            verdict.to_string(),
        ),
        (
            "delivered_events",
            "Events that SoundHash delivered.",
            report.delivered.to_string(),
        ),
        (
            "recorded_events",
            "Delivered events that were recorded.",
            report.recorded.unwrap_or_default().to_string(),
        ),
        (
            "missing_events",
            "The least number of events that never arrived.",
            report.missing().to_string(),
        ),
        (
            "waiting_events",
            "Events that SoundHash will try to deliver again.",
            waiting.to_string(),
        ),
        (
            "unseen_seconds",
            "The part of the window that SoundHash's API does not show.",
            unseen.unwrap_or(0).to_string(),
        ),
        (
            "window_start_timestamp_seconds",
            "The beginning of the window.",
            seconds(report.since),
        ),
        (
            "window_end_timestamp_seconds",
            "The end of the window.",
            seconds(report.until),
        ),
    ];
    let mut text = String::new();
    for (name, help, value) in metrics {
        let name = format!("soundhash_webhook_reconcile_{name}");
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        );
    }
    text
}
