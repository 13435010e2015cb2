//! Stands in for `events` and `--database` if the `database` feature is off, and tells the user how
//! to get them.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use soundhash_webhook_reconcile::{Record, Timestamp};

use crate::{error::Error, secret::variable};

const INSTALL: &str = "\
This build of the command lacks the feature `database`. Install the command with it:
  $ cargo install --path crates/cli --features database";

/// List the events that your application recorded, and run them again (needs the feature
/// `database`)
#[derive(Args)]
#[command(after_help = INSTALL)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    _command: EventsCommand,
}

#[derive(Subcommand)]
enum EventsCommand {
    /// List recorded events, latest first
    List {
        #[command(flatten)]
        _ignored: Ignored,
    },
    /// Show a recorded event with its body
    Show {
        #[command(flatten)]
        _ignored: Ignored,
    },
    /// Send recorded events to your application again, so that it handles them again
    RunAgain {
        #[command(flatten)]
        _ignored: Ignored,
    },
}

#[derive(Args)]
#[command(after_help = INSTALL)]
struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

#[expect(clippy::unused_async, reason = "like the command that it replaces")]
pub(crate) async fn run(_: EventsArgs) -> Result<bool, Error> {
    Err(Error::usage(NEEDED))
}

/// Replaces the options that select the database.
#[derive(Args)]
pub(crate) struct DatabaseArgs {
    #[arg(long, hide = true, value_parser = reject)]
    database: Option<String>,
}

impl DatabaseArgs {
    pub(crate) fn is_given(&self) -> Result<bool, Error> {
        Ok(self.database.is_some() || variable("SOUNDHASH_WEBHOOK_DATABASE")?.is_some())
    }

    #[expect(clippy::unused_async, reason = "like the function that it replaces")]
    pub(crate) async fn records(&self, _: Timestamp) -> Result<Vec<Record>, Error> {
        Err(Error::usage(NEEDED))
    }
}

const NEEDED: &str = "this needs the feature `database`. Install the command with \
    `cargo install --path crates/cli --features database`.";

fn reject(_: &str) -> Result<String, &'static str> {
    Err(NEEDED)
}
