//! The command `soundhash-webhook`: reads the arguments, runs the command, sets the exit status.

#![forbid(unsafe_code)]

mod arguments;
mod completions;
mod data;
mod endpoints;
mod error;
mod escape;
mod http;
mod listen;
mod output;
mod replay;
mod secret;
mod send;
mod table;
mod verify;

use std::{env, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::{Cli, Command},
    error::Error,
};

fn main() -> ExitCode {
    let ended = secret::reject_in_arguments(env::args_os()).and_then(|()| run(Cli::parse()));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader of a pipe has what it needs, as with `| head`.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.status())
        }
    }
}

/// Runs a command. `false` means that it ran, and that its result is a failure.
#[tokio::main]
async fn run(cli: Cli) -> Result<bool, Error> {
    match cli.command {
        Command::Listen(args) => listen::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Replay(args) => replay::run(args).await,
        Command::Endpoints(args) => endpoints::run(args).await,
        Command::Completions(args) => completions::run(&args),
    }
}
