//! Prints a report as tables or as JSON, and writes its counts to a file for Prometheus.

use std::{fmt::Write, fs, io, path::Path};

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

pub(super) fn report(report: &Report, is_json: bool) {
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
        output::line(json(report));
        return;
    }
    let window = format!("{} to {}", local(report.since), local(report.until));
    let mut fields = vec![
        ("window", plain(window)),
        ("delivered", plain(report.delivered)),
    ];
    if let Some(recorded) = report.recorded {
        fields.push(("recorded", plain(recorded)));
    }
    let style = [Style::new(), BAD][usize::from(report.missing() > 0)];
    fields.push(("missing", cell(style, missing(report))));
    table::print_fields(&fields);
    if !report.failed.is_empty() {
        output::line("\nSoundHash did not deliver these events:");
        print_failed(&report.failed);
    }
    if !report.gaps.is_empty() {
        output::line("\nSoundHash delivered more events than were recorded here:");
        print_gaps(report);
        output::note(
            "\nSomething else may have responded to SoundHash with 2xx, such as a redirect, a \
             login page or a proxy.",
        );
    }
    remarks(report);
    if report.verdict() == Verdict::Complete {
        output::note_as_is(paint(GOOD, "Every event arrived."));
    }
}

/// Prints notes on the limits of the result.
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
             the developer portal or of endpoints that were not compared. Each can hide a missing \
             event of the same time.",
            report.extra
        ));
    }
}

fn missing(report: &Report) -> String {
    // The number of missing events is exact if every event in each gap is missing.
    let is_exact = report.gaps.iter().all(|gap| gap.recorded == 0) && report.unseen.is_empty();
    match report.missing() {
        missing if is_exact => missing.to_string(),
        missing => format!("at least {missing}"),
    }
}

fn print_gaps(report: &Report) {
    let rows = report.gaps.iter().map(|gap| {
        let certain = if gap.recorded == 0 { "all" } else { "at least" };
        [
            plain(local(gap.since)),
            plain(local(gap.until)),
            number(Style::new(), gap.delivered),
            number(Style::new(), gap.recorded),
            cell(BAD, format!("{certain} {}", gap.missing)),
        ]
    });
    table::print("FROM|UNTIL|DELIVERED|RECORDED|MISSING", rows);
}

pub(super) fn write_prometheus(report: &Report, endpoints: &str, path: &Path) -> Result<(), Error> {
    replace(path, &prometheus(report, endpoints)).map_err(|error| {
        let path = escape(&path.display().to_string());
        Error::failed(format!("--prometheus {path}: {error}"))
    })
}

/// Replaces a file atomically, because the collector may read it at any time.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // As root, this would replace a device.
    if fs::symlink_metadata(path).is_ok_and(|existing| !existing.is_file()) {
        return Err(io::Error::other("not a regular file"));
    }
    // The collector ignores this file, because its name does not end in .prom.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)))
}

fn prometheus(report: &Report, endpoints: &str) -> String {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let failed = report.failed.iter();
    let waiting = failed.filter(|it| it.fate == Fate::Waiting).count();
    let verdict = match report.verdict() {
        Verdict::Complete => 0,
        Verdict::Missing => 1,
        Verdict::Unknown => 2,
    };
    let unseen = report
        .unseen
        .iter()
        .map(|it| it.until.duration_since(it.since));
    let unseen = unseen.max().unwrap_or_default().as_secs();
    let values = [
        verdict,
        count(report.delivered),
        count(report.recorded.unwrap_or_default()),
        count(report.missing()),
        count(waiting),
        unseen,
        report.since.as_second(),
        report.until.as_second(),
    ];
    let mut text = String::new();
    for (gauge, value) in GAUGES.lines().zip(values) {
        let (name, help) = gauge.split_once(' ').unwrap_or_default();
        let name = format!("soundhash_webhook_reconcile_{name}");
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n\
             {name}{{endpoints=\"{endpoints}\"}} {value}\n"
        );
    }
    text
}

/// The names and help texts of the metrics.
const GAUGES: &str = "\
status 0 if every event arrived, 1 if one is missing, 2 if this is unknown.
delivered_events Events that SoundHash delivered.
recorded_events Delivered events that were recorded.
missing_events The minimum number of events that never arrived.
waiting_events Events that SoundHash will try to deliver again.
unseen_seconds The part of the window that SoundHash's API does not show.
window_start_timestamp_seconds The beginning of the window.
window_end_timestamp_seconds The end of the window.";
