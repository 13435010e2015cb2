//! The line that `listen` prints for each delivery.

use std::time::Duration;

use jiff::{Timestamp, Unit, tz::TimeZone};
use serde::Serialize;
use soundhash_webhook_inspector::{Record, Subscription, Verdict};
use tokio::time::timeout;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    error::Error,
    escape::{excerpt, json},
    http::milliseconds,
    output::{self, BAD, DIM, GOOD, INFO, WARNING, paint},
};

pub(super) struct Printer {
    pub(super) json: bool,
}

impl Printer {
    /// Prints every record. Ends only with an error.
    pub(super) async fn run(&self, records: &mut Subscription) -> Result<(), Error> {
        loop {
            match records.recv().await {
                Ok(record) => self.print(&record)?,
                Err(lagged) => output::warning(format_args!(
                    "{} deliveries were not printed, because the output is too slow",
                    lagged.skipped
                )),
            }
        }
    }

    /// Prints the records that have already arrived.
    pub(super) async fn rest(&self, records: &mut Subscription) -> Result<(), Error> {
        match timeout(Duration::ZERO, self.run(records)).await {
            Ok(printed) => printed,
            Err(_) => Ok(()),
        }
    }

    fn print(&self, record: &Record) -> Result<(), Error> {
        if self.json {
            output::line(json(&Line::of(record)))
        } else {
            output::line(text(record))
        }
    }
}

/// A line of `--json`.
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

/// Displays a record within 80 columns.
fn text(record: &Record) -> String {
    let time = time(record).to_zoned_datetime(TimeZone::system());
    let time = paint(DIM, time.strftime("%H:%M:%S"));
    // Nothing in a rejected request is verified, so only the reason is shown.
    let what = match record.reason() {
        Some(reason) if record.verdict() == Verdict::Rejected => {
            excerpt(reason.trim_end_matches('.'), 80)
        }
        _ => {
            let id = cell(record.event_id(), 22);
            // Types of other senders can be longer, and use the room that the id leaves.
            let event_type = cell(record.event_type(), 42 - id.width());
            format!("{}  {id}", padded(event_type, 20))
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
    format!(
        "{time}  {}  {} {status:>4} {:>8}",
        padded(what, 44),
        paint(style, format_args!("{:<9}", verdict.as_str())),
        milliseconds(record.duration()),
    )
}

/// Returns what fits into so many columns: the beginning and the end.
fn cell(text: Option<&str>, columns: usize) -> String {
    let text = excerpt(text.unwrap_or("–"), 200);
    if text.width() <= columns {
        return text;
    }
    let start = fitting(text.chars(), columns / 2 - 1);
    let end = fitting(text.chars().rev(), columns / 2);
    start
        .into_iter()
        .chain(['…'])
        .chain(end.into_iter().rev())
        .collect()
}

fn fitting(text: impl Iterator<Item = char>, mut columns: usize) -> Vec<char> {
    text.map_while(|character| {
        columns = columns.checked_sub(character.width().unwrap_or_default())?;
        Some(character)
    })
    .collect()
}

fn padded(text: String, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

fn time(record: &Record) -> Timestamp {
    let time = Timestamp::try_from(record.time()).unwrap_or_default();
    time.round(Unit::Millisecond).unwrap_or(time)
}
