//! Reads the application's records.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use soundhash_webhook::Id;
use soundhash_webhook_reconcile::{Record, Timestamp, Window};

#[cfg(feature = "database")]
use {
    crate::database::DatabaseArgs,
    soundhash_webhook_sqlx::{EventFilter, EventSummary},
    std::time::SystemTime,
};

use crate::{error::Error, output::escape::escape};

#[derive(Args)]
pub(super) struct RecordedArgs {
    /// What was recorded: JSON lines of `listen --json`, or with the members `time` and `id`; `-`
    /// is standard input
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "database", arg(conflicts_with = "database"))]
    recorded: Vec<PathBuf>,
    #[cfg(feature = "database")]
    #[command(flatten)]
    database: DatabaseArgs,
}

/// A line of `listen --json` or `events list --json`, or of another program.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    #[serde(alias = "key")]
    id: Option<Id>,
    verdict: Option<String>,
    sender: Option<String>,
}

impl RecordedArgs {
    /// Reads the records of the window, or returns `None` if the user named none.
    #[cfg_attr(
        not(feature = "database"),
        expect(clippy::unused_async, reason = "databases are asynchronous")
    )]
    pub(super) async fn read(&self, window: &Window) -> Result<Option<Vec<Record>>, Error> {
        let earliest = window.since.saturating_sub(window.clock_difference);
        let earliest = earliest.unwrap_or(window.since);
        if !self.recorded.is_empty() {
            return read_files(&self.recorded, earliest).map(Some);
        }
        #[cfg(feature = "database")]
        if self.database.is_given()? {
            let filter = EventFilter::new();
            let filter = filter.since(earliest.try_into().unwrap_or(SystemTime::UNIX_EPOCH));
            let events = self.database.open().await?.list(filter, usize::MAX).await?;
            // SoundHash's log does not have the events of the portal. Their keys end with a digest.
            let events = events.iter().filter(|event| {
                let parts = event.key.as_str().rsplit(';');
                parts.take(1).all(|part| !part.starts_with('b'))
            });
            let record = |event: &EventSummary| Record {
                time: event.received_at.try_into().unwrap_or_default(),
                key: None,
            };
            return Ok(Some(events.map(record).collect()));
        }
        Ok(None)
    }
}

fn read_files(paths: &[PathBuf], earliest: Timestamp) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for path in paths {
        let name = escape(&path.display().to_string());
        let failed = |reason: String| Error::failed(format!("--recorded {name}{reason}"));
        let mut lines = open(path).map_err(|error| failed(format!(": {error}")))?;
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = lines.read_until(b'\n', &mut line);
            if length.map_err(|error| failed(format!(": {error}")))? == 0 {
                break;
            }
            match serde_json::from_slice::<Line>(&line) {
                Ok(line) if line.time >= earliest => records.extend(line.into_record()),
                Ok(_) => {}
                // Another program is still writing it.
                Err(_) if !line.ends_with(b"\n") => {}
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) => return Err(failed(format!(", line {number}: {error}"))),
            }
        }
    }
    Ok(records)
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path)?)),
    })
}

impl Line {
    /// Returns `None` for a delivery that SoundHash's log does not have as a success. The log does not
    /// have the portal's deliveries, and the other verdicts did not lead to a 2xx.
    fn into_record(self) -> Option<Record> {
        let is_accepted = matches!(
            self.verdict.as_deref(),
            None | Some("accepted" | "duplicate")
        );
        let is_logged = self.sender.as_deref() != Some("portal");
        (is_accepted && is_logged).then(|| Record {
            time: self.time,
            key: self.id.map(|id| id.to_string()),
        })
    }
}
