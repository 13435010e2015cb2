//! `endpoints`: SoundHash's management API.
//!
//! - `manage`: list, create, show, update, delete, test and stats
//! - `deliveries`: shows the attempt log and the lost events
//! - `rotate`: replaces a secret by creating a second endpoint
//! - `secret_file`: stores a new secret

/// Returns a command's help: its remarks, the environment variables that all commands read, and
/// examples.
macro_rules! help {
    ($examples:literal) => {
        help!("", $examples)
    };
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
    data::Data,
    error::Error,
    url::{parse_id, parse_seconds},
};

/// Manage endpoints through SoundHash's API
#[derive(Args)]
#[command(after_help = help!("  $ soundhash-webhook endpoints create --url https://app.example.com/hooks \\
      --event match.found,video.processed --secret-file soundhash.secret
  $ soundhash-webhook endpoints list
  $ soundhash-webhook endpoints test 7
  $ soundhash-webhook endpoints deliveries 7 --failed
  $ soundhash-webhook endpoints rotate 7 --secret-file new.secret"))]
pub(crate) struct EndpointsArgs {
    /// Print the API's response as JSON instead of a table
    #[arg(long, global = true, help_heading = COMMON)]
    json: bool,
    /// Wait this long for each API response
    #[arg(long, global = true, help_heading = COMMON, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    #[command(subcommand)]
    command: EndpointsCommand,
}

/// The help heading for options that all commands have.
const COMMON: &str = "Options of every command";

#[derive(Subcommand)]
enum EndpointsCommand {
    /// List your endpoints
    #[command(after_help = help!("  $ soundhash-webhook endpoints list
  $ soundhash-webhook endpoints list --inactive --json"))]
    List {
        /// Only endpoints that receive events
        #[arg(long, conflicts_with = "inactive")]
        active: bool,
        /// Only endpoints that are switched off
        #[arg(long)]
        inactive: bool,
    },
    Create(manage::CreateArgs),
    /// Show one endpoint
    #[command(after_help = help!("  $ soundhash-webhook endpoints show 7"))]
    Show {
        /// The endpoint
        #[arg(value_parser = parse_id)]
        id: String,
    },
    Update(manage::UpdateArgs),
    /// Delete an endpoint and its delivery log
    #[command(after_help = help!("  $ soundhash-webhook endpoints delete 7
  $ soundhash-webhook endpoints delete 7 --yes"))]
    Delete {
        /// The endpoint
        #[arg(value_parser = parse_id)]
        id: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Have SoundHash send a test event to an endpoint
    #[command(after_help = help!("  $ soundhash-webhook endpoints test 7
  $ soundhash-webhook endpoints test 7 --event job.failed --data '{\"job_id\": 1}'

Exit status: 0 the endpoint accepted the event, 1 it did not, 2 wrong usage"))]
    Test {
        /// The endpoint
        #[arg(value_parser = parse_id)]
        id: String,
        /// The type of the event, which can be any text
        #[arg(long, value_name = "TYPE", default_value = "match.found")]
        event: String,
        /// The payload, a JSON object; @FILE reads it from a file
        #[arg(long, value_name = "JSON")]
        data: Option<Data>,
    },
    Deliveries(deliveries::DeliveriesArgs),
    /// Show how many deliveries an endpoint has accepted
    #[command(after_help = help!("  $ soundhash-webhook endpoints stats 7
  $ soundhash-webhook endpoints stats 7 --json"))]
    Stats {
        /// The endpoint
        #[arg(value_parser = parse_id)]
        id: String,
    },
    Rotate(rotate::RotateArgs),
}

pub(crate) async fn run(args: EndpointsArgs) -> Result<bool, Error> {
    use EndpointsCommand as C;

    let api = Api::from_env(args.timeout, None)?;
    let json = args.json;
    match args.command {
        C::List { active, inactive } => {
            let is_active = (active || inactive).then_some(active);
            manage::list(&api, is_active, json).await
        }
        C::Create(args) => manage::create(&api, args, json).await,
        C::Show { id } => manage::show(&api, &id, json).await,
        C::Update(args) => manage::update(&api, args, json).await,
        C::Delete { id, yes } => manage::delete(&api, &id, yes, json).await,
        C::Test { id, event, data } => manage::test(&api, &id, event, data, json).await,
        C::Deliveries(args) => deliveries::run(&api, &args, json).await,
        C::Stats { id } => manage::stats(&api, &id, json).await,
        C::Rotate(args) => rotate::run(&api, args, json).await,
    }
}
