//! Reads the arguments of `soundhash-webhook`, runs the command, and sets the exit status.

#![forbid(unsafe_code)]

mod api;
mod arguments;
mod completions;
mod data;
#[cfg(feature = "database")]
mod database;
mod doctor;
mod endpoints;
mod error;
mod event_types;
#[cfg(feature = "database")]
mod events;
mod http;
mod listen;
mod output;
mod reconcile;
mod replay;
mod secret;
mod send;
mod shell;
mod signals;
mod url;
mod verify;
#[cfg(not(feature = "database"))]
mod without_database;

#[cfg(not(feature = "database"))]
use without_database::{self as database, self as events};

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use tokio::runtime::Runtime;

use crate::{
    arguments::{Cli, Command},
    error::Error,
};

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            // `output` cannot be used here, because it needs a runtime to wait until the message is
            // written.
            let _ = writeln!(io::stderr(), "error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(run_to_end());
    // This does not wait for host lookups, which can take a long time.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// Runs the command, waits until its output is written, and returns its exit status.
async fn run_to_end() -> u8 {
    let ended = match secret::reject_in_arguments(env::args_os()) {
        Ok(()) => run(Cli::parse()).await,
        Err(error) => Err(error),
    };
    let mut status = status(ended);
    let written = output::finish().await;
    // After Ctrl-C, missing output is not an error, because the command does not wait for it.
    if written.is_err() && signals::count() == 0 {
        status = self::status(written.map(|()| true)).max(status);
        let _ = output::finish().await;
    }
    status
}

/// Returns the exit status for a command's result, and prints the error, if there is one.
fn status(ended: Result<bool, Error>) -> u8 {
    match ended {
        Ok(true) => 0,
        Ok(false) => 1,
        // The process that reads the output has everything it needs, as with `| head`.
        Err(error) if error.is_broken_pipe() => 0,
        // The user pressed Ctrl-C, so a message is not necessary.
        Err(error @ Error::Interrupted) => error.status(),
        Err(error) => {
            output::error(&error);
            error.status()
        }
    }
}

/// Runs a command. Returns `false` if the command ran but its result counts as a failure.
async fn run(cli: Cli) -> Result<bool, Error> {
    match cli.command {
        Command::Listen(args) => listen::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Doctor(args) => doctor::run(args).await,
        Command::Reconcile(args) => reconcile::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Endpoints(args) => endpoints::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Completions(args) => {
            completions::run(&args, Cli::command());
            Ok(true)
        }
    }
}
