//! Reads the application's records.

use std::{
    collections::HashMap,
    fmt::Display,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use soundhash_webhook::Id;
use soundhash_webhook_reconcile::{Record, Timestamp, Window};
use tokio::task::spawn_blocking;

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
    // Unlike a plain `Option`, this rejects a line without the member.
    #[serde(alias = "key", deserialize_with = "Option::deserialize")]
    id: Option<Id>,
    verdict: Option<String>,
    sender: Option<String>,
}

impl RecordedArgs {
    /// Reads the records since the beginning of the window, except those that SoundHash's log cannot
    /// contain. Returns `None` if the user gave neither a file nor a database.
    pub(super) async fn read(&self, window: &Window) -> Result<Option<Vec<Record>>, Error> {
        let earliest = window.since.saturating_sub(window.clock_difference);
        let earliest = earliest.unwrap_or(window.since);
        if !self.recorded.is_empty() {
            let paths = self.recorded.clone();
            // A pipe can take forever, during which signals must still end the command.
            let read = spawn_blocking(move || read_files(&paths, earliest)).await;
            let mut records = read.map_err(|error| Error::failed(error.to_string()))??;
            records.retain(|it| !it.key.as_deref().is_some_and(is_of_portal));
            return Ok(Some(records));
        }
        match self.database.is_given()? {
            true => Ok(Some(self.database.records(earliest).await?)),
            false => Ok(None),
        }
    }
}

/// Returns whether a key, as opposed to an id, is that of an event of the developer portal: these
/// keys end with a digest of the body.
pub(crate) fn is_of_portal(key: &str) -> bool {
    let last = key.rsplit(';').next();
    last.and_then(|part| part.strip_prefix('b'))
        .is_some_and(|it| it.len() == 64 && it.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn read_files(paths: &[PathBuf], earliest: Timestamp) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    // The times of older events, by the hashes of their keys. A repetition of one must not count as
    // another event.
    let mut older = HashMap::new();
    let hasher = RandomState::new();
    for path in paths {
        read_file(path, |record| match record.time < earliest {
            true => older.extend(record.key.map(|key| (hasher.hash_one(key), record.time))),
            false => records.push(record),
        })?;
    }
    for record in &mut records {
        let hash = record.key.as_ref().map(|key| hasher.hash_one(key));
        if let Some(time) = hash.and_then(|hash| older.get(&hash)) {
            record.time = *time;
        }
    }
    Ok(records)
}

fn read_file(path: &Path, mut add: impl FnMut(Record)) -> Result<(), Error> {
    let name = escape(&path.display().to_string());
    let failed = |reason: &dyn Display| Error::failed(format!("--recorded {name}: {reason}"));
    let mut lines = open(path).map_err(|error| failed(&error))?;
    let mut line = Vec::new();
    let mut is_readable = false;
    let (mut damaged, mut first_damaged, mut unfinished) = (0, None, None);
    for number in 1.. {
        line.clear();
        let read = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(&error))? == 0 {
            break;
        }
        let is_cut_off = !line.ends_with(b"\n");
        let is_too_long = is_cut_off && line.len() as u64 == MAX_LINE;
        if is_too_long {
            lines.skip_until(b'\n').map_err(|error| failed(&error))?;
        }
        match serde_json::from_slice::<Line>(&line) {
            Ok(line) => {
                is_readable = true;
                line.into_record().map(&mut add);
            }
            Err(_) if line.trim_ascii().is_empty() => {}
            // Another program may still be writing the last line.
            Err(error) if is_cut_off && !is_too_long => {
                unfinished = Some(format!("line {number}: {error}"));
            }
            Err(error) => {
                damaged += 1;
                let error = match is_too_long {
                    true => "more than 1 MiB".to_owned(),
                    false => error.to_string(),
                };
                first_damaged.get_or_insert_with(|| format!("line {number}: {error}"));
            }
        }
    }
    if !is_readable && let Some(first) = first_damaged.as_ref().or(unfinished.as_ref()) {
        return Err(failed(first));
    }
    let Some(first) = first_damaged else {
        return Ok(());
    };
    // A full disk or a loss of power can damage single lines.
    let lines = if damaged == 1 { "line" } else { "lines" };
    output::warning(format_args!(
        "--recorded {name}: skipped {damaged} damaged {lines}, whose events count as not recorded: \
         {first}"
    ));
    Ok(())
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
