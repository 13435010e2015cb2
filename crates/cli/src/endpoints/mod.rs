//! `endpoints`: SoundHash's management API.
//!
//! - `manage`: list, create, show, update, delete, test and stats
//! - `deliveries`: shows the log of attempts and the lost events
//! - `rotate`: replaces a secret with the help of a second endpoint
//! - `secret_file`: stores a new secret

/// The help of a command: remarks, the variables that all commands read, and examples.
macro_rules! help {
    ($remarks:literal, $examples:literal) => {
        concat!(
            $remarks,
            "\
Environment:
  SOUNDHASH_API_URL            Scheme and host of the API, without /api/v1
  SOUNDHASH_API_TOKEN          The bearer token of your account
  SOUNDHASH_API_REFRESH_TOKEN  Renews the bearer token when it has expired
  HTTP_PROXY, HTTPS_PROXY      Proxies, except for this machine and NO_PROXY

Examples:
",
            $examples
        )
    };
}

pub(crate) mod deliveries;
mod manage;
mod rotate;
mod secret_file;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{
    api::Api,
    error::Error,
    output::{self, escape::pretty_json},
    url::parse_seconds,
};

/// Manage endpoints through SoundHash's API
#[derive(Args)]
#[command(after_help = help!("", "  $ soundhash-webhook endpoints create --url https://app.example.com/hooks \\
      --event match.found,video.processed --secret-file soundhash.secret
  $ soundhash-webhook endpoints list
  $ soundhash-webhook endpoints test 7
  $ soundhash-webhook endpoints deliveries 7 --failed
  $ soundhash-webhook endpoints rotate 7 --secret-file new.secret"))]
pub(crate) struct EndpointsArgs {
    /// Print the API's response as JSON instead of a table
    #[arg(long, global = true, help_heading = COMMON)]
    json: bool,
    /// Wait this long for each response of the API
    #[arg(long, global = true, help_heading = COMMON, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    #[command(subcommand)]
    command: EndpointsCommand,
}

/// The heading of options that all commands have.
const COMMON: &str = "Options of every command";

#[derive(Subcommand)]
enum EndpointsCommand {
    List(manage::ListArgs),
    Create(manage::CreateArgs),
    Show(manage::ShowArgs),
    Update(manage::UpdateArgs),
    Delete(manage::DeleteArgs),
    Test(manage::TestArgs),
    Deliveries(deliveries::DeliveriesArgs),
    Stats(manage::StatsArgs),
    Rotate(rotate::RotateArgs),
}

pub(crate) async fn run(args: EndpointsArgs) -> Result<bool, Error> {
    let api = Api::from_env(args.timeout, None)?;
    let json = args.json;
    match args.command {
        EndpointsCommand::List(args) => manage::list(&api, &args, json).await,
        EndpointsCommand::Create(args) => manage::create(&api, args, json).await,
        EndpointsCommand::Show(args) => manage::show(&api, &args, json).await,
        EndpointsCommand::Update(args) => manage::update(&api, args, json).await,
        EndpointsCommand::Delete(args) => manage::delete(&api, &args, json).await,
        EndpointsCommand::Test(args) => manage::test(&api, args, json).await,
        EndpointsCommand::Deliveries(args) => deliveries::run(&api, &args, json).await,
        EndpointsCommand::Stats(args) => manage::stats(&api, &args, json).await,
        EndpointsCommand::Rotate(args) => rotate::run(&api, args, json).await,
    }
}

/// Prints a response of the API as it is.
fn print_json(response: &impl serde::Serialize) -> Result<bool, Error> {
    output::line(pretty_json(response))?;
    Ok(true)
}

/// Parses an endpoint's id. It becomes a part of a path.
pub(crate) fn parse_id(text: &str) -> Result<String, String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.bytes().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("not an id; `endpoints list` shows the ids".to_owned())
    }
}
