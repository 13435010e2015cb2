//! `events`: the events that an application recorded with `EventLog`.
//!
//! - this file: lists events, and shows one with its body
//! - `run_again`: sends stored events to the application again

/// Returns a command's help: its remarks, the environment variables that all commands read, and
/// examples.
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

mod run_again;

use std::{
    io::{self, Write},
    time::SystemTime,
};

use anstyle::Style;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use soundhash_webhook_sqlx::{EventSummary, RecordedEvent};

use crate::{
    api::model,
    database::{Database, DatabaseArgs, Filter},
    error::Error,
    output::{
        self, WARNING,
        escape::{escape, json, pretty_json, quoted},
        table::{self, cell, number, plain},
    },
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
    /// List recorded events, latest first
    #[command(after_help = help!("", "", "  $ soundhash-webhook events list --database sqlite:events.db
  $ soundhash-webhook events list --since 2026-11-23 --limit 1000
  $ soundhash-webhook events list --forgotten --json"))]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only events that come after this one in the list
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// The maximum number of events
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show a recorded event with its body
    #[command(after_help = help!("", "", "  $ soundhash-webhook events show tLj5invc61jBhWnpYZ6_Y02
  $ soundhash-webhook events show tLj5invc61jBhWnpYZ6_Y02 --raw | sha256sum"))]
    Show {
        /// The key of the event
        key: String,
        /// Print the exact bytes of the body, and nothing else
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    RunAgain(run_again::RunAgainArgs),
}

pub(crate) async fn run(args: EventsArgs) -> Result<bool, Error> {
    let database = args.database.open().await?;
    let done = run_command(&database, args.command, args.json).await;
    database.close().await;
    done
}

async fn run_command(
    database: &Database,
    command: EventsCommand,
    json: bool,
) -> Result<bool, Error> {
    use EventsCommand as C;

    match command {
        C::List {
            filter,
            after,
            limit,
        } => {
            let mut filter = filter.to_event_filter();
            if let Some(key) = &after {
                filter = filter.after(&database.find(key).await?.summary);
            }
            list(&database.list(filter, limit).await?, limit, json);
            Ok(true)
        }
        C::Show { key, raw } => show(&database.find(&key).await?, raw, json),
        C::RunAgain(run) => run_again::run(database, run, json).await,
    }
}

/// An event as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    event_type: Option<&'a str>,
    endpoint: Option<&'a str>,
    created_at: Option<String>,
    /// The time of receipt, under the name that `listen --json` uses.
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

/// Returns an event's type, shortened to `length`, because senders can choose long types.
fn kind(event: &EventSummary, length: usize) -> String {
    let kind = event.event_type.as_deref().unwrap_or("not an event");
    kind.chars().take(length).collect()
}

fn state(event: &EventSummary) -> &'static str {
    if event.is_forgotten {
        "forgotten"
    } else {
        "recorded"
    }
}

fn list(events: &[EventSummary], limit: usize, json: bool) {
    if json {
        for event in events {
            output::line(self::json(&Line::of(event)));
        }
        return;
    }
    let Some(last) = events.last() else {
        output::note("There are no such events.");
        return;
    };
    let rows = events.iter().map(|event| {
        let style = [Style::new(), WARNING][usize::from(event.is_forgotten)];
        [
            plain(local(event.received_at)),
            plain(kind(event, 64)),
            plain(event.endpoint.as_deref().unwrap_or_default()),
            cell(style, state(event)),
            number(Style::new(), event.body_len),
            plain(&event.key),
        ]
    });
    if (events.iter()).all(|event| !event.is_forgotten && event.endpoint.is_none()) {
        let rows = rows.map(|[time, kind, _, _, bytes, key]| [time, kind, bytes, key]);
        table::print("RECEIVED|TYPE|BYTES|KEY", rows);
    } else {
        table::print("RECEIVED|TYPE|ENDPOINT|STATE|BYTES|KEY", rows);
    }
    if events.len() == limit {
        let key = quoted(last.key.as_str());
        output::note(format_args!("For older events, add `--after {key}`."));
    }
}

fn show(event: &RecordedEvent, raw: bool, json: bool) -> Result<bool, Error> {
    let (summary, text) = (&event.summary, String::from_utf8_lossy(&event.body));
    if raw {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&event.body)?;
        stdout.flush()?;
    } else if json {
        let mut line = Line::of(summary);
        line.body = Some(&text);
        output::line(self::json(&line));
    } else {
        let mut fields = vec![
            ("type", plain(kind(summary, usize::MAX))),
            ("key", plain(&summary.key)),
        ];
        fields.extend((summary.endpoint.as_ref()).map(|it| ("endpoint", plain(it))));
        fields.extend((summary.created_at).map(|it| ("created", plain(local(it.into())))));
        fields.extend([
            ("received", plain(local(summary.received_at))),
            ("state", plain(state(summary))),
            ("bytes", plain(summary.body_len)),
        ]);
        table::print_fields(&fields);
        // A body that only Python's JSON parser accepts is shown unchanged.
        let body = match serde_json::from_str::<Value>(&text) {
            Ok(body) => pretty_json(&body),
            Err(_) => text.lines().map(escape).collect::<Vec<_>>().join("\n"),
        };
        output::line(format_args!("\n{body}"));
    }
    Ok(true)
}
