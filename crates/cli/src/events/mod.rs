//! `events`: the events that an application recorded with `EventLog`.
//!
//! - `list`: lists them without their bodies
//! - `show`: shows one with its body
//! - `run_again`: sends stored events to the application again

/// The help of a command: remarks, the variables that all commands read, and examples.
macro_rules! help {
    ($remarks:literal, $variables:literal, $examples:literal) => {
        concat!(
            $remarks,
            "Environment:\n  SOUNDHASH_WEBHOOK_DATABASE  The database, if its URL has a password\n",
            $variables,
            "\nExamples:\n",
            $examples
        )
    };
}

mod list;
mod run_again;
mod show;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use soundhash_webhook::idempotency::Key;
use soundhash_webhook_sqlx::{EventFilter, EventSummary, RecordedEvent};

use crate::{
    api::model,
    database::{Database, DatabaseArgs},
    error::Error,
    output::escape::escape,
    url::parse_time,
};

/// List the events that your application recorded, and run them again
#[derive(Args)]
#[command(after_help = help!("\
For applications that record their events with `EventLog` of soundhash-webhook-sqlx. The commands \
never delete an event.

", "", "  $ export SOUNDHASH_WEBHOOK_DATABASE=postgres://app@localhost/app
  $ soundhash-webhook events list --type match.found --since 2h
  $ soundhash-webhook events show tLj5invc61jBhWnpYZ6_Y02
  $ soundhash-webhook events run-again --since 2h --rate 10"))]
pub(crate) struct EventsArgs {
    /// Print JSON, one object per line
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Subcommand)]
enum EventsCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    RunAgain(run_again::RunAgainArgs),
}

pub(crate) async fn run(args: EventsArgs) -> Result<bool, Error> {
    let database = args.database.open().await?;
    match args.command {
        EventsCommand::List(list) => list::run(&database, list, args.json).await,
        EventsCommand::Show(show) => show::run(&database, &show, args.json).await,
        EventsCommand::RunAgain(run) => run_again::run(&database, run, args.json).await,
    }
}

/// Selects events.
#[derive(Args)]
struct Filter {
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events of this endpoint, as your `SecretProvider` names it
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only events received at or after this time, or since this age, such as 90m or 2d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only events received before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Only events that should run again, and whose handler has not succeeded since
    #[arg(long)]
    forgotten: bool,
}

impl Filter {
    fn to_event_filter(&self) -> EventFilter {
        let mut filter = EventFilter::new();
        if let Some(event_type) = &self.event_type {
            filter = filter.event_type(event_type);
        }
        if let Some(endpoint) = &self.endpoint {
            filter = filter.endpoint(endpoint);
        }
        let time = |time: Option<Timestamp>| SystemTime::try_from(time?).ok();
        if let Some(since) = time(self.since) {
            filter = filter.since(since);
        }
        if let Some(until) = time(self.until) {
            filter = filter.before(until);
        }
        if self.forgotten {
            filter = filter.forgotten();
        }
        filter
    }
}

/// Returns the event with this key.
async fn find(database: &Database, key: &str) -> Result<RecordedEvent, Error> {
    let event = database.get(&Key::new(key)).await?;
    event.ok_or_else(|| {
        let key = escape(key);
        Error::usage(format!(
            "there is no event with the key {key}: `events list` shows the keys"
        ))
    })
}

/// An event as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    event_type: Option<&'a str>,
    endpoint: Option<&'a str>,
    created_at: Option<String>,
    /// When the event was received, with the name that `listen --json` uses.
    time: String,
    bytes: u64,
    forgotten: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(event: &'a EventSummary) -> Self {
        let time = Timestamp::try_from(event.received_at).unwrap_or_default();
        Self {
            key: event.key.as_str(),
            event_type: event.event_type.as_deref(),
            endpoint: event.endpoint.as_deref(),
            created_at: event.created_at.map(|time| time.to_string()),
            time: time.to_string(),
            bytes: event.body_len,
            forgotten: event.is_forgotten,
            body: None,
        }
    }
}

fn local(time: SystemTime) -> String {
    model::local(Timestamp::try_from(time).unwrap_or_default())
}

fn state(event: &EventSummary) -> &'static str {
    if event.is_forgotten {
        "forgotten"
    } else {
        "recorded"
    }
}
