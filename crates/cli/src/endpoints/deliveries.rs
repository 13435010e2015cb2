//! `deliveries`: shows the log of attempts, and the lost events.

use std::collections::BTreeMap;

use anstyle::Style;
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{parse_id, print_json};
use crate::{
    api::{
        Api,
        model::{self, Attempt},
    },
    error::Error,
    output::{
        self, BAD, GOOD, WARNING,
        escape::{excerpt, pretty_json},
        table::{self, cell, number, plain},
    },
};

/// The maximum number of attempts that the API returns.
const MOST: usize = 1000;
/// A retry that is this late will not come, because the sender was restarted and forgot it.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// Show the attempts to deliver events to an endpoint
#[derive(Args)]
#[command(after_help = help!(
    "\
With --failed, there is one line for each event that was never accepted. SoundHash cannot send an \
event again on request, and its log does not show the bodies.

",
    "\
  $ soundhash-webhook endpoints deliveries 7
  $ soundhash-webhook endpoints deliveries 7 --failed
  $ soundhash-webhook endpoints deliveries 7 --status retrying --json"
))]
pub(super) struct DeliveriesArgs {
    /// The endpoint
    #[arg(value_parser = parse_id)]
    id: String,
    /// Only events that no attempt delivered
    #[arg(long, conflicts_with_all = ["status", "limit"])]
    failed: bool,
    /// Only attempts with this status: success, failed, retrying, pending
    #[arg(long)]
    status: Option<String>,
    /// The most attempts, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

pub(super) async fn run(api: &Api, args: &DeliveriesArgs, json: bool) -> Result<bool, Error> {
    // An event is lost only if none of its attempts succeeded, so all attempts are needed.
    let limit = if args.failed { MOST } else { args.limit.into() };
    let limit = limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    if let Some(status) = &args.status {
        query.push(("status", status));
    }
    let response = api.get(&[&args.id, "deliveries"], &query).await?;
    let attempts: Vec<Attempt> = model::read(&response)?;
    if args.failed {
        if attempts.len() >= MOST {
            output::warning("the API returns at most 1000 attempts, so older events are not shown");
        }
        return failed(&attempts, &response, json);
    }
    if json {
        return print_json(&response);
    }
    if attempts.is_empty() {
        output::note("There are no such attempts.");
        return Ok(true);
    }
    let rows: Vec<_> = (attempts.iter())
        .map(|attempt| {
            let style = match attempt.status.as_str() {
                "success" => GOOD,
                "failed" => BAD,
                _ => WARNING,
            };
            let duration = attempt.duration_ms.map(|ms| ms.to_string());
            [
                plain(model::time(attempt.created_at.as_deref())),
                plain(&attempt.event_id),
                number(Style::new(), attempt.number),
                cell(style, &attempt.status),
                plain(code(attempt)),
                number(Style::new(), duration.unwrap_or_default()),
                plain(error(attempt)),
            ]
        })
        .collect();
    table::print(
        [
            "TIME", "EVENT", "ATTEMPT", "STATUS", "RESPONSE", "MS", "ERROR",
        ],
        &rows,
    )?;
    Ok(true)
}

/// Prints each event without a successful attempt.
fn failed(attempts: &[Attempt], response: &serde_json::Value, json: bool) -> Result<bool, Error> {
    let mut last: BTreeMap<String, &Attempt> = BTreeMap::new();
    for attempt in attempts {
        let entry = last.entry(attempt.event_id.to_string()).or_insert(attempt);
        // An event that was delivered once is not lost, even if a later copy failed.
        let is_later = attempt.number > entry.number;
        if attempt.status == "success" || (is_later && entry.status != "success") {
            *entry = attempt;
        }
    }
    last.retain(|_, attempt| attempt.status != "success");
    if json {
        let attempts = response.as_array().into_iter().flatten();
        let undelivered: Vec<_> = attempts
            .filter(|attempt| {
                let id = &attempt["event_id"];
                let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
                last.contains_key(&id)
            })
            .collect();
        output::line(pretty_json(&undelivered))?;
        return Ok(true);
    }
    if last.is_empty() {
        output::note("Every event in the log was delivered.");
        return Ok(true);
    }
    let mut last: Vec<_> = last.into_values().collect();
    last.sort_by(|a, b| b.created_at.cmp(&a.created_at));
    let now = Timestamp::now();
    let rows: Vec<_> = (last.into_iter())
        .map(|attempt| {
            let (style, fate) = fate(attempt, now);
            [
                plain(model::time(attempt.created_at.as_deref())),
                plain(&attempt.event_id),
                number(Style::new(), attempt.number),
                cell(style, fate),
                plain(code(attempt)),
                plain(error(attempt)),
            ]
        })
        .collect();
    table::print(
        [
            "LAST ATTEMPT",
            "EVENT",
            "ATTEMPTS",
            "FATE",
            "RESPONSE",
            "ERROR",
        ],
        &rows,
    )?;
    Ok(true)
}

/// Returns whether the event is lost or can still arrive.
fn fate(attempt: &Attempt, now: Timestamp) -> (Style, &'static str) {
    let due = match attempt.status.as_str() {
        "retrying" => attempt.next_retry_at.as_deref(),
        "pending" => attempt.created_at.as_deref(),
        _ => None,
    };
    match due.and_then(model::instant) {
        Some(due) if now.duration_since(due) < GRACE => (WARNING, "retrying"),
        _ => (BAD, "lost"),
    }
}

fn code(attempt: &Attempt) -> String {
    attempt
        .response_status_code
        .map_or_else(|| "none".to_owned(), |code| code.to_string())
}

fn error(attempt: &Attempt) -> String {
    excerpt(attempt.error_message.as_deref().unwrap_or_default(), 200)
}
