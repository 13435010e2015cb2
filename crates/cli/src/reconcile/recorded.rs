//! What was recorded here.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use soundhash_webhook::Id;
use soundhash_webhook_reconcile::{Record, Timestamp, Window};

use crate::{error::Error, output::escape::escape};

/// A line of `listen --json` or `events list --json`, or of another program.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    #[serde(alias = "key")]
    id: Option<Id>,
    verdict: Option<String>,
    sender: Option<String>,
}

/// Reads the records of the window, or returns `None` if there are no files.
pub(super) fn read(paths: &[PathBuf], window: &Window) -> Result<Option<Vec<Record>>, Error> {
    let earliest = window
        .since
        .saturating_sub(window.clock_difference)
        .unwrap_or(window.since);
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
    Ok((!paths.is_empty()).then_some(records))
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path)?)),
    })
}

impl Line {
    /// Returns `None` for a delivery that is not in SoundHash's log as a success: the portal has no
    /// log, and other verdicts responded without a 2xx.
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
