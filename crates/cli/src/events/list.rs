//! `list`: lists recorded events without their bodies.

use anstyle::Style;
use clap::Args;

use super::{Filter, Line, find, local, state};
use crate::{
    database::Database,
    error::Error,
    output::{
        self, WARNING,
        escape::json,
        table::{self, cell, number, plain},
    },
};

/// List recorded events, the latest first
#[derive(Args)]
#[command(after_help = help!("", "", "  $ soundhash-webhook events list --database sqlite:events.db
  $ soundhash-webhook events list --since 2026-11-23 --limit 1000
  $ soundhash-webhook events list --forgotten --json"))]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only events that come after this one in the list
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// The most events
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

pub(super) async fn run(database: &Database, args: ListArgs, json: bool) -> Result<bool, Error> {
    let mut filter = args.filter.to_event_filter();
    if let Some(key) = &args.after {
        filter = filter.after(&find(database, key).await?.summary);
    }
    let events = database.list(filter, args.limit).await?;
    if json {
        for event in &events {
            output::line(self::json(&Line::of(event)))?;
        }
        return Ok(true);
    }
    let Some(last) = events.last() else {
        output::note("There are no such events.");
        return Ok(true);
    };
    let rows = events.iter().map(|event| {
        let style = if event.is_forgotten {
            WARNING
        } else {
            Style::new()
        };
        [
            plain(local(event.received_at)),
            plain(shortened(
                event.event_type.as_deref().unwrap_or("not an event"),
            )),
            plain(event.endpoint.as_deref().unwrap_or_default()),
            cell(style, state(event)),
            number(Style::new(), event.body_len),
            plain(&event.key),
        ]
    });
    let is_plain = (events.iter()).all(|event| !event.is_forgotten && event.endpoint.is_none());
    if is_plain {
        let rows = rows.map(|[time, kind, _, _, bytes, key]| [time, kind, bytes, key]);
        table::print(
            ["RECEIVED", "TYPE", "BYTES", "KEY"],
            &rows.collect::<Vec<_>>(),
        )?;
    } else {
        let names = ["RECEIVED", "TYPE", "ENDPOINT", "STATE", "BYTES", "KEY"];
        table::print(names, &rows.collect::<Vec<_>>())?;
    }
    if events.len() == args.limit {
        let key = output::escape::escape(last.key.as_str());
        output::note(format_args!("For older events, add `--after {key}`."));
    }
    Ok(true)
}

/// The start of a type. A sender can give a type any length, and a table is as wide as its longest
/// cell.
fn shortened(event_type: &str) -> &str {
    match event_type.char_indices().nth(64) {
        Some((end, _)) => &event_type[..end],
        None => event_type,
    }
}
