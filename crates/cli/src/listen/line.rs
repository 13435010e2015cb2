//! The line that `listen` prints for each delivery.

use std::time::Duration;

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use jiff::{Timestamp, Unit, tz::TimeZone};
use serde::Serialize;
use soundhash_webhook_inspector::{Record, Subscription, Verdict};
use tokio::time::timeout;

use super::limit::Limit;
use crate::{
    output::{
        self, BAD, DIM, GOOD, INFO, WARNING,
        escape::{excerpt, json},
        paint,
    },
    url::milliseconds,
};

pub(super) struct Printer {
    json: bool,
    /// Limits the lines about requests that were not accepted.
    limit: Limit,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        let limit = Limit::new("requests that were not accepted");
        Self { json, limit }
    }

    /// Prints each record as it arrives, forever.
    pub(super) async fn run(&mut self, records: &mut Subscription) {
        loop {
            match records.recv().await {
                Ok(record) => {
                    self.limit.report_last_minute();
                    if record.verdict() != Verdict::Accepted && !self.limit.allows() {
                        continue;
                    }
                    // A slow reader or a full disk must not hold up deliveries. Lost lines are
                    // counted.
                    output::line_without_end(match self.json {
                        true => json(&Line::of(&record)),
                        false => text(&record, output::columns()),
                    });
                }
                Err(lagged) => output::warning(format_args!(
                    "{} requests were not printed, because too many came at once",
                    lagged.skipped
                )),
            }
        }
    }

    /// Prints the records that have already arrived but have not been printed yet.
    pub(super) async fn rest(&mut self, records: &mut Subscription) {
        let _ = timeout(Duration::ZERO, self.run(records)).await;
        self.limit.report();
    }
}

/// A line of `--json` output.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: Option<&'a str>,
    sender: Option<String>,
    verdict: &'static str,
    reason: Option<&'a str>,
    status: Option<u16>,
    duration_ms: f64,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            time: time(record).to_string(),
            id: record.event_id(),
            event_type: record.event_type(),
            sender: record.sender().map(|sender| sender.to_string()),
            verdict: record.verdict().as_str(),
            reason: record.reason(),
            status: record.status().map(|status| status.as_u16()),
            duration_ms: (record.duration().as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

/// Formats a record to fit 80 columns. Leaves out the duration if the terminal is narrower.
fn text(record: &Record, columns: usize) -> String {
    let is_wide = columns >= 80;
    let room = if is_wide {
        44
    } else {
        columns.saturating_sub(27).max(16)
    };
    let time = time(record).to_zoned_datetime(TimeZone::system());
    let time = paint(DIM, time.strftime("%H:%M:%S"));
    // Nothing in a rejected request has been verified, so the line shows the reason instead of the
    // type and the id.
    let what = match record.reason() {
        Some(reason) if record.verdict() == Verdict::Rejected => {
            let reason = excerpt(reason.trim_end_matches('.'), 80);
            match is_wide {
                true => reason,
                false => cell(Some(&reason), room),
            }
        }
        _ => {
            let width = 20.min(room.saturating_sub(13));
            let id = cell(record.event_id(), room - width - 2);
            // A long type may take up the columns that the id does not need.
            let free = room - 2 - measure_text_width(&id);
            let event_type = cell(record.event_type(), free);
            let event_type = pad_str(&event_type, width, Alignment::Left, None);
            format!("{event_type}  {id}")
        }
    };
    let verdict = record.verdict();
    let style = match verdict {
        Verdict::Accepted => GOOD,
        Verdict::Duplicate => INFO,
        Verdict::Rejected => WARNING,
        _ => BAD,
    };
    let status = record.status();
    let status = status.map_or_else(|| "–".to_owned(), |status| status.as_u16().to_string());
    let what = pad_str(&what, room, Alignment::Left, None);
    let verdict = paint(style, format_args!("{:<9}", verdict.as_str()));
    let duration = match is_wide {
        true => format!(" {:>8}", milliseconds(record.duration())),
        false => String::new(),
    };
    format!("{time}  {what}  {verdict} {status:>4}{duration}")
}

/// Truncates text to the given number of columns.
fn cell(text: Option<&str>, columns: usize) -> String {
    let text = excerpt(text.unwrap_or("–"), 200);
    truncate_str(&text, columns, "…").into_owned()
}

fn time(record: &Record) -> Timestamp {
    let time = Timestamp::try_from(record.time()).unwrap_or_default();
    time.round(Unit::Millisecond).unwrap_or(time)
}
