//! Reads the application's records.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use soundhash_webhook::Id;
use soundhash_webhook_reconcile::{Record, Timestamp, Window};

use crate::{
    database::DatabaseArgs,
    error::Error,
    output::{self, escape::escape},
};

/// The maximum length of a line. The lines of `listen --json` are only a few hundred bytes.
const MAX_LINE: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct RecordedArgs {
    /// The records: JSON lines from `listen --json`, or any others with the members `time` and
    /// `id`; `-` is standard input
    #[arg(long, value_name = "FILE")]
    #[cfg_attr(feature = "database", arg(conflicts_with = "database"))]
    recorded: Vec<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// A line from `listen --json`, `events list --json` or another program.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    #[serde(alias = "key")]
    id: Option<Id>,
    verdict: Option<String>,
    sender: Option<String>,
}

impl RecordedArgs {
    /// Reads the records since the beginning of the window. Returns `None` if the user gave neither
    /// a file nor a database.
    pub(super) async fn read(&self, window: &Window) -> Result<Option<Vec<Record>>, Error> {
        let earliest = window.since.saturating_sub(window.clock_difference);
        let earliest = earliest.unwrap_or(window.since);
        if !self.recorded.is_empty() {
            return read_files(&self.recorded, earliest).map(Some);
        }
        match self.database.is_given()? {
            true => Ok(Some(self.database.records(earliest).await?)),
            false => Ok(None),
        }
    }
}

fn read_files(paths: &[PathBuf], earliest: Timestamp) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for path in paths {
        let name = escape(&path.display().to_string());
        let failed = |reason: String| Error::failed(format!("--recorded {name}{reason}"));
        let mut lines = open(path).map_err(|error| failed(format!(": {error}")))?;
        let mut line = Vec::new();
        let mut is_readable = false;
        let (mut damaged, mut first_damaged) = (0, None);
        for number in 1.. {
            line.clear();
            let length = (&mut lines).take(MAX_LINE + 1).read_until(b'\n', &mut line);
            match length.map_err(|error| failed(format!(": {error}")))? {
                0 => break,
                length if length as u64 > MAX_LINE => {
                    return Err(failed(format!(", line {number}: more than 1 MiB")));
                }
                _ => {}
            }
            match serde_json::from_slice::<Line>(&line) {
                Ok(line) => {
                    is_readable = true;
                    if line.time >= earliest {
                        records.extend(line.into_record());
                    }
                }
                // Skips the last line if another program is still writing it.
                Err(_) if !line.ends_with(b"\n") => {}
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) => {
                    damaged += 1;
                    first_damaged.get_or_insert_with(|| format!("line {number}: {error}"));
                }
            }
        }
        let Some(first) = first_damaged else { continue };
        if !is_readable {
            return Err(failed(format!(", {first}")));
        }
        // A full disk or a loss of power can damage single lines.
        let lines = if damaged == 1 { "line" } else { "lines" };
        output::warning(format_args!(
            "--recorded {name}: skipped {damaged} damaged {lines}, whose events count as not \
             recorded: {first}"
        ));
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
    /// Returns `None` if SoundHash's log does not show this delivery as a success. The log leaves
    /// out the portal's deliveries, and any verdict other than these two means that the response
    /// was not a 2xx. A duplicate without an id could be the repetition of a recorded delivery, which
    /// must not count as a record of another event.
    fn into_record(self) -> Option<Record> {
        let is_accepted = match self.verdict.as_deref() {
            None | Some("accepted") => true,
            Some("duplicate") => self.id.is_some(),
            Some(_) => false,
        };
        let is_logged = self.sender.as_deref() != Some("portal");
        (is_accepted && is_logged).then(|| Record {
            time: self.time,
            key: self.id.map(|id| id.to_string()),
        })
    }
}
