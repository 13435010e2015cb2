//! `run-again`: sends stored events to the application again.
//!
//! Each event is marked as forgotten right before it is sent. Its row and body are kept. When the
//! handler succeeds, the application records the event again. If either process crashes before
//! then, `--forgotten` selects the events whose handlers did not run.

use std::time::Duration;

use axum::http::{
    HeaderMap, Uri,
    header::{self, HeaderValue},
};
use clap::Args;
use serde_json::json;
use soundhash_webhook::{SIGNATURE_HEADER, Secret, idempotency::Key};
use soundhash_webhook_reconcile::Timestamp;
use soundhash_webhook_sqlx::EventSummary;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    database::{Database, Filter, are_of_several_endpoints},
    error::Error,
    events::kind,
    http::{NoResponse, REPLAYED},
    output::{
        self,
        escape::{escape, excerpt, harmless_json, quoted},
    },
    secret::SecretSource,
    send::{
        attempts::{Delivered, Delivery, Target},
        parse_rate,
        report::{Expected, Report, details},
    },
    signals,
    url::{DEFAULT_URL, parse_url},
};

/// Send recorded events to your application again, so that it handles them again
#[derive(Args)]
#[command(after_help = help!("\
The events are sent one after the other, oldest first, with the stored body and a new \
signature. Before an event is sent, it is marked as forgotten, so that it is not a duplicate. Its row \
and its body stay. When the handler succeeds, the application records the event again. An event that \
failed stays forgotten, and --forgotten selects it.

The command stops if the application cannot be reached, rejects the signature, redirects, or \
responds with 2xx without recording the event, because the other events would end in the same way. \
Redirects are not followed. Ctrl-C ends the command after the current event.

", "  SOUNDHASH_WEBHOOK_SECRET    The endpoint's secret
  HTTP_PROXY, HTTPS_PROXY     Proxies, except for this machine and NO_PROXY
", "  $ soundhash-webhook events run-again tLj5invc61jBhWnpYZ6_Y02
  $ soundhash-webhook events run-again --type match.found --rate 10
  $ soundhash-webhook events run-again --since 2026-11-23 --until 2h
  $ soundhash-webhook events run-again --forgotten --yes --json

Exit status: 0 every event ran, or none is left for --forgotten or --after, 1 at least one did not \
or there is none, 2 wrong usage, 130 interrupted"))]
pub(super) struct RunAgainArgs {
    /// The keys of the events
    #[arg(value_name = "KEY", conflicts_with_all = ["event_type", "endpoint", "since", "until", "forgotten", "after"])]
    keys: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only events that come after this one, to resume an interrupted run
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with = "forgotten",
        overrides_with = "after"
    )]
    after: Option<String>,
    /// Where the application receives events
    #[arg(long, default_value = DEFAULT_URL, value_parser = parse_url)]
    url: Uri,
    /// Send at most this many events per second
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    source: SecretSource,
}

pub(super) async fn run(
    database: &Database,
    args: RunAgainArgs,
    json: bool,
) -> Result<bool, Error> {
    let secret = args.source.secret()?;
    let events = select(database, &args).await?;
    if events.is_empty() {
        // An earlier run may have left nothing.
        let is_expected = args.filter.forgotten || args.after.is_some();
        output::note(match is_expected {
            true => "There are no such events.",
            false => {
                "There are no such events. An event whose handler failed each time is not recorded \
                 if the handler and the record share a transaction."
            }
        });
        return Ok(is_expected);
    }
    if are_of_several_endpoints(&events) {
        return Err(Error::usage(
            "these events are of several endpoints, each with a secret of its own: give --endpoint, or \
             the keys of one endpoint",
        ));
    }
    if events.len() > 1 && !args.yes {
        output::require_terminal("run the events again")?;
        let (count, url) = (events.len(), escape(&args.url.to_string()));
        let question = format!("Let the application at {url} handle {count} events again?");
        if !output::confirm(&question).await? {
            output::note("No event was sent.");
            return Ok(false);
        }
    }
    // Events that are recorded after this moment must not be selected when the run is continued.
    let newest = events.iter().map(|event| event.received_at).max();
    let end = newest.and_then(|newest| Timestamp::try_from(newest + MICROSECOND).ok());
    signals::listen()?;
    let mut run = Run {
        database,
        secret,
        target: Target::new(args.url).without_redirects(),
        report: Report::new(events.len() as u64, Expected::Accepted),
        json,
        failed: 0,
        only_forgotten: args.filter.forgotten,
        // `--forgotten` does not need `--after`, because it does not select events that have
        // already run.
        end: end.filter(|_| args.keys.is_empty() && !args.filter.forgotten),
    };
    let ended = run.all(&events, args.rate).await;
    let all_ran = run.failed == 0;
    if !json {
        run.report.finish();
    }
    if !all_ran {
        output::note(
            "Events that were not recorded again are still stored, unless they were purged. \
             `soundhash-webhook events list --forgotten` lists those that are marked to run again.",
        );
    }
    ended.map(|()| all_ran)
}

/// Returns the events in the order in which they are sent.
async fn select(database: &Database, args: &RunAgainArgs) -> Result<Vec<EventSummary>, Error> {
    let mut events = Vec::new();
    for key in &args.keys {
        events.push(database.find(key).await?.summary);
    }
    if !args.keys.is_empty() {
        return Ok(events);
    }
    let filter = &args.filter;
    let is_window = filter.since.or(filter.until).is_some();
    let is_kind = filter.event_type.is_some() || filter.endpoint.is_some();
    if !is_window && !is_kind && !filter.forgotten {
        return Err(Error::usage(
            "which events? Give their keys, or --type, --endpoint, --since, --until or --forgotten",
        ));
    }
    events = database.list(filter.to_event_filter(), usize::MAX).await?;
    events.reverse();
    if let Some(after) = &args.after {
        let done = events.iter().position(|event| event.key.as_str() == after);
        let done = done.ok_or_else(|| {
            let after = escape(after);
            Error::usage(format!(
                "--after {after}: the filter does not select this event"
            ))
        })?;
        events.drain(..=done);
    }
    Ok(events)
}

/// The precision of the recorded times.
const MICROSECOND: Duration = Duration::from_micros(1);

struct Run<'a> {
    database: &'a Database,
    secret: Secret,
    target: Target,
    report: Report,
    json: bool,
    failed: u64,
    only_forgotten: bool,
    /// The end of the selected events' time range, if the run can be continued with `--after`.
    end: Option<Timestamp>,
}

impl Run<'_> {
    async fn all(&mut self, events: &[EventSummary], rate: Option<f64>) -> Result<(), Error> {
        let mut ticks = rate.map(|rate| interval(Duration::from_secs_f64(rate.recip())));
        if let Some(ticks) = &mut ticks {
            // Events delayed by a slow response must not be sent in a burst.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut last = None;
        for (number, event) in events.iter().enumerate() {
            let left = events.len() - number - 1;
            let tick = async {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
            };
            tokio::select! {
                biased;
                () = signals::received(1) => {
                    self.stopped("Interrupted:", left + 1, last);
                    return Err(Error::Interrupted);
                }
                () = tick => {}
            }
            let hurry = async {
                signals::received(1).await;
                output::note("Waiting for the current event. Ctrl-C does not wait.");
                signals::received(2).await;
            };
            let cause = tokio::select! {
                biased;
                () = hurry => {
                    self.unfinished(event, "Interrupted", left, last);
                    return Err(Error::Interrupted);
                }
                cause = self.one(event) => cause,
            };
            if let Err(Error::Failed(_)) = cause {
                self.unfinished(event, "The database failed", left, last);
            }
            let cause = cause?;
            if let Some(cause) = cause {
                self.stopped(cause, left, last);
                return Ok(());
            }
            last = Some(&event.key);
        }
        Ok(())
    }

    /// Reports an event that may have been marked as forgotten, but may not have run.
    fn unfinished(&mut self, event: &EventSummary, why: &str, left: usize, last: Option<&Key>) {
        self.failed += 1;
        let why = format!("{why} at the event {}.", escape(event.key.as_str()));
        self.stopped(&why, left, last);
    }

    fn stopped(&self, why: &str, left: usize, last: Option<&Key>) {
        let more = match (last, self.end) {
            (Some(last), Some(end)) => {
                let last = quoted(last.as_str());
                format!(" To continue, add `--after {last} --until {end}`.")
            }
            _ => String::new(),
        };
        output::warning(format_args!(
            "{why} {left} more events were not sent.{more}"
        ));
    }

    /// Sends one event. On a failure that would also affect later events, returns its cause.
    async fn one(&mut self, event: &EventSummary) -> Result<Option<&'static str>, Error> {
        let key = &event.key;
        let stored = match self.database.get(key).await {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                let why = format!("{}: the event was purged", escape(key.as_str()));
                self.not_sent(event, &why);
                return Ok(None);
            }
            Err(Error::Damaged(why)) => {
                let why = format!("{why}. The event was not sent and not marked as forgotten.");
                self.not_sent(event, &why);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is_marked = stored.summary.is_forgotten;
        if self.only_forgotten && !is_marked {
            let why = "the event has been handled since it was listed";
            match self.json {
                true => print_json(event, false, None, Some(why)),
                false => output::note(format_args!("{}: {why}.", escape(key.as_str()))),
            }
            return Ok(None);
        }
        if !self.database.forget(key).await? && !is_marked {
            let why = format!(
                "{}: the event could not be marked, so it was not sent. Another `run-again` may have \
                 just marked it, the application may be handling it, or a trigger or a policy of \
                 the database prevents it.",
                escape(key.as_str())
            );
            self.not_sent(event, &why);
            return Ok(Some("An event could not be marked."));
        }
        let agent = concat!("soundhash-webhook-cli/", env!("CARGO_PKG_VERSION"));
        let json = HeaderValue::from_static("application/json");
        let delivery = Delivery {
            name: format!("{:<20}  {key}", kind(event, 64)),
            headers: HeaderMap::from_iter([
                (header::CONTENT_TYPE, json),
                (header::USER_AGENT, HeaderValue::from_static(agent)),
                (SIGNATURE_HEADER, self.secret.sign(&stored.body).into()),
            ]),
            body: stored.body,
        };
        let mut delivered = self.target.send(delivery, &[], &|_, _| {}).await;
        if delivered.is_handled() {
            // If another delivery of the event arrived first, the application has already handled
            // that delivery.
            let now = self.database.get(key).await?;
            if now.is_some_and(|now| now.summary.is_forgotten) {
                let headers = delivered.result.as_ref().map(|response| &response.headers);
                let is_duplicate = headers.is_ok_and(|headers| headers.contains_key(REPLAYED));
                let why = [NOT_RECORDED, DUPLICATE][usize::from(is_duplicate)];
                delivered.not_recorded = Some(why.to_owned());
            }
        }
        // Redirects are not followed, because the stored body and its signature must not reach
        // another server.
        if let Ok(response) = &delivered.result
            && let Some(location) = response.location()
        {
            delivered.not_recorded = Some(format!(
                "The application redirects ({}) to {}, where the event was not sent. Give the URL \
                 that does not redirect to --url.",
                response.status.as_u16(),
                excerpt(&location, 200)
            ));
        }
        let ran = delivered.is_handled();
        self.failed += u64::from(!ran);
        if self.json {
            let response = delivered.result.as_ref().ok();
            let status = response.map(|response| response.status.as_u16());
            let error = details(&delivered).filter(|_| !ran);
            print_json(event, ran, status, error.as_deref());
        } else {
            self.report.add(&delivered);
        }
        Ok(if ran { None } else { cause(&delivered) })
    }

    /// Reports an event that cannot be sent. Later events are still sent.
    fn not_sent(&mut self, event: &EventSummary, why: &str) {
        self.failed += 1;
        output::warning(why);
        if self.json {
            print_json(event, false, None, Some(why));
        }
    }
}

fn print_json(event: &EventSummary, ran: bool, status: Option<u16>, error: Option<&str>) {
    let (key, event_type) = (event.key.as_str(), &event.event_type);
    let line = json!({
        "key": key, "type": event_type, "ran": ran, "status": status, "error": error,
    });
    output::line(harmless_json(&line.to_string()));
}

const DUPLICATE: &str = "An idempotency store of the application, such as Redis or its memory, still \
    has the event, so its handler did not run. Forget the event there, or restart the application.";
const NOT_RECORDED: &str = "The application responded with 2xx, but did not record the event in \
    this table under this key: check --url, --database and --table. If the application names its \
    endpoint differently now, its handler did run, and the event has another key. Or another \
    `run-again` marked the event at the same time: let only one run.";

/// Returns why a delivery failed, if the same cause would also affect later events.
fn cause(delivered: &Delivered) -> Option<&'static str> {
    match &delivered.result {
        Err(NoResponse::Unreachable { .. }) => Some("The application cannot be reached."),
        Err(_) => None,
        Ok(response) => match response.status.as_u16() {
            401 => Some(
                "The application rejects the signature, or the age of the event: check the secret, \
                 and `max_age`.",
            ),
            403..=405 => Some("The application has no webhook at this URL."),
            200..=399 => Some("The application did not record the event under its key."),
            _ => None,
        },
    }
}
