//! `deliveries`: shows the attempt log, or the lost events.

use std::{cmp::Reverse, collections::HashSet};

use anstyle::Style;
use clap::Args;
use serde_json::value::RawValue;
use soundhash_webhook_reconcile::{Attempt, Failed, Fate, Log, Timestamp, Window, reconcile};

use crate::{
    api::{
        Api,
        model::{local, read},
    },
    error::Error,
    output::{
        self, BAD, GOOD, WARNING,
        escape::{self, excerpt},
        table::{self, cell, number, plain},
    },
    url::parse_id,
};

/// The maximum number of attempts that the API returns.
const MOST: usize = 1000;

/// Show the attempts to deliver events to an endpoint
#[derive(Args)]
#[command(after_help = help!(
    "\
With --failed, there is one line for each event that was never accepted. SoundHash cannot send an \
event again on request, and its log does not show the bodies.

",
    "  $ soundhash-webhook endpoints deliveries 7
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
    /// The maximum number of attempts, up to 1000
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
    if json && !args.failed {
        output::print_json(&response);
        return Ok(true);
    }
    let attempts: Vec<Attempt> = read(&response)?;
    if args.failed {
        failed(&args.id, attempts, &response, json)?;
    } else if attempts.is_empty() {
        output::note("There are no such attempts.");
    } else {
        print(&attempts);
        if attempts.len() == usize::from(args.limit) && attempts.len() < MOST {
            output::note("There may be older attempts: use --limit, or --failed.");
        }
    }
    Ok(true)
}

fn print(attempts: &[Attempt]) {
    let rows = attempts.iter().map(|attempt| {
        let style = match attempt.status.as_str() {
            "success" => GOOD,
            "failed" => BAD,
            _ => WARNING,
        };
        let duration = attempt.duration_ms.map(|ms| ms.to_string());
        [
            plain(local(attempt.created_at)),
            plain(&attempt.event_id),
            number(Style::new(), attempt.number),
            cell(style, &attempt.status),
            plain(code(attempt.response_status_code)),
            number(Style::new(), duration.unwrap_or_default()),
            plain(error(attempt.error_message.as_deref())),
        ]
    });
    table::print("TIME|EVENT|ATTEMPT|STATUS|RESPONSE|MS|ERROR", rows);
}

/// Prints each event without a successful attempt.
fn failed(id: &str, attempts: Vec<Attempt>, response: &[u8], json: bool) -> Result<(), Error> {
    if attempts.len() >= MOST {
        output::warning("the API returns at most 1000 attempts, so older events are not shown");
    }
    let event_ids: Vec<_> = attempts.iter().map(|it| it.event_id.clone()).collect();
    let mut log = Log::new(id);
    log.add(attempts);
    let mut failed = reconcile(&[log], None, &Window::new(Timestamp::MIN, Timestamp::MAX)).failed;
    if json {
        let failed: HashSet<_> = failed.iter().map(|it| &it.event_id).collect();
        let attempts: Vec<&RawValue> = read(response)?;
        let attempts = attempts.iter().zip(&event_ids);
        let attempts = attempts.filter(|(_, event)| failed.contains(event));
        let attempts: Vec<_> = attempts.map(|(attempt, _)| attempt).collect();
        output::line(escape::json(&attempts));
        return Ok(());
    }
    if failed.is_empty() {
        output::note("Every event in the log was delivered.");
        return Ok(());
    }
    failed.sort_by_key(|failed| Reverse(failed.last_attempt_at));
    print_failed(&failed);
    Ok(())
}

/// Prints events that no attempt delivered to an endpoint.
pub(crate) fn print_failed(failed: &[Failed]) {
    let rows = failed.iter().map(|failed| {
        let (style, fate) = match (failed.fate, failed.may_be_recorded) {
            (Fate::Waiting, _) => (WARNING, "retrying"),
            (Fate::Unclear, Some(false)) => (BAD, "lost"),
            (Fate::Unclear, _) => (WARNING, "unclear"),
            (Fate::Lost, Some(true)) => (BAD, "lost, or only recorded here"),
            (Fate::Lost, _) => (BAD, "lost"),
        };
        [
            plain(local(failed.last_attempt_at)),
            plain(&failed.endpoint),
            plain(&failed.event_id),
            number(Style::new(), failed.attempts),
            cell(style, fate),
            plain(code(failed.response_status_code)),
            plain(error(failed.error_message.as_deref())),
        ]
    });
    let names = "LAST ATTEMPT|ENDPOINT|EVENT|ATTEMPTS|FATE|RESPONSE|ERROR";
    table::print(names, rows);
}

fn code(code: Option<u16>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}

fn error(message: Option<&str>) -> String {
    excerpt(message.unwrap_or_default(), 200)
}
