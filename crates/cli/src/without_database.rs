//! `events` of a build without the feature `database`: says how to get it.

use std::ffi::OsString;

use clap::Args;

use crate::error::Error;

/// List the events that your application recorded, and run them again
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct EventsArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

#[expect(clippy::unused_async, reason = "like the command that it replaces")]
pub(crate) async fn run(_: EventsArgs) -> Result<bool, Error> {
    Err(Error::usage(
        "`events` needs the feature `database`. Install the command with \
         `cargo install --path crates/cli --features database`.",
    ))
}
