//! `show`: shows one recorded event with its body.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::{Line, find, local, state};
use crate::{
    database::Database,
    error::Error,
    output::{
        self,
        escape::{escape, json, pretty_json},
        table::{self, plain},
    },
};

/// Show a recorded event with its body
#[derive(Args)]
#[command(after_help = help!("", "", "  $ soundhash-webhook events show tLj5invc61jBhWnpYZ6_Y02
  $ soundhash-webhook events show tLj5invc61jBhWnpYZ6_Y02 --raw | sha256sum"))]
pub(super) struct ShowArgs {
    /// The key of the event
    key: String,
    /// Print the exact bytes of the body, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

pub(super) async fn run(database: &Database, args: &ShowArgs, json: bool) -> Result<bool, Error> {
    let event = find(database, &args.key).await?;
    let summary = &event.summary;
    if args.raw {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&event.body)
            .and_then(|()| stdout.flush())?;
        return Ok(true);
    }
    let text = String::from_utf8_lossy(&event.body);
    if json {
        let line = Line {
            body: Some(&text),
            ..Line::of(summary)
        };
        output::line(self::json(&line))?;
        return Ok(true);
    }
    let mut fields = vec![
        (
            "type",
            plain(summary.event_type.as_deref().unwrap_or("not an event")),
        ),
        ("key", plain(&summary.key)),
    ];
    if let Some(endpoint) = &summary.endpoint {
        fields.push(("endpoint", plain(endpoint)));
    }
    if let Some(time) = summary.created_at {
        fields.push(("created", plain(local(time.into()))));
    }
    fields.extend([
        ("received", plain(local(summary.received_at))),
        ("state", plain(state(summary))),
        ("bytes", plain(summary.body_len)),
    ]);
    table::print_fields(&fields)?;
    // A body that only Python reads is shown as it is.
    let body = match serde_json::from_str::<Value>(&text) {
        Ok(body) => pretty_json(&body),
        Err(_) => text.lines().map(escape).collect::<Vec<_>>().join("\n"),
    };
    output::line(format_args!("\n{body}"))?;
    Ok(true)
}
