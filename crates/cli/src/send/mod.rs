//! `send`: sends signed events, as SoundHash would.
//!
//! - `events`: creates the events
//! - `attempts`: sends them, with retries
//! - `report`: prints the lines and the summary

pub(crate) mod attempts;
pub(crate) mod events;
pub(crate) mod report;

use std::time::Duration;

use axum::http::Uri;
use clap::Args;
use soundhash_webhook::{Secret, Sender};
use tokio::{
    task::{JoinError, JoinSet},
    time::interval,
};

use self::{
    attempts::{Delivered, RetryArgs, Target},
    events::Plan,
    report::{Expected, Report},
};
use crate::{
    data::Data,
    error::Error,
    event_types, output,
    secret::SecretSource,
    signals,
    url::{DEFAULT_URL, parse_url},
};

/// The maximum number of events in flight at a time with `--rate`.
const MAX_IN_FLIGHT: usize = 100;

/// Send signed events, as SoundHash would
#[derive(Args)]
#[command(after_help = "\
Each event is new, with a new id and the current time. `replay` sends the same delivery again.
Redirects are followed as SoundHash follows them, with a warning, because they lose events.

Environment:
  SOUNDHASH_WEBHOOK_SECRET  The endpoint's secret
  HTTP_PROXY, HTTPS_PROXY   Proxies, except for this machine and the hosts of NO_PROXY

Examples:
  $ soundhash-webhook send
  $ soundhash-webhook send --all
  $ soundhash-webhook send --event match.found --envelope portal
  $ soundhash-webhook send --event made.up --data '{\"a\": 1}'
  $ soundhash-webhook send --data @payload.json
  $ soundhash-webhook send --count 10000 --rate 200
  $ soundhash-webhook send --forge

Exit status: 0 every event was accepted (with --forge: rejected), 1 at least one was not, 2 wrong usage")]
pub(crate) struct SendArgs {
    /// Where to send the events
    #[arg(long, default_value = DEFAULT_URL, value_parser = parse_url)]
    url: Uri,
    /// The event type; an unknown type gets the payload of SoundHash's test button
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "video.processed",
        conflicts_with = "all"
    )]
    event: String,
    /// Which of SoundHash's senders to imitate: portal or dispatcher
    #[arg(long, default_value = "dispatcher", conflicts_with = "all")]
    envelope: Sender,
    /// The payload, byte for byte, instead of the sample's; @FILE reads a file, and @- standard
    /// input
    #[arg(long, value_name = "JSON", conflicts_with = "all")]
    data: Option<Data>,
    /// Send an event of every type from both senders
    #[arg(long)]
    all: bool,
    /// Send this many of each event
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Start this many events per second instead of sending one at a time
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Sign with a wrong secret, and succeed only if the receiver rejects the events
    #[arg(long, conflicts_with = "retry")]
    forge: bool,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    source: SecretSource,
}

pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|rate| (0.001..=10_000.0).contains(rate))
        .ok_or_else(|| "not a number from 0.001 to 10000".to_owned())
}

pub(crate) async fn run(args: SendArgs) -> Result<bool, Error> {
    let (secret, expected) = if args.forge {
        // No endpoint has this secret, so no receiver should accept signatures made with it.
        let secret = Secret::new("forged by soundhash-webhook send --forge");
        (secret, Expected::Rejected)
    } else {
        (args.source.secret()?, Expected::Accepted)
    };
    if !args.all {
        event_types::warn_of_unknown(std::slice::from_ref(&args.event));
    }
    let plans = if args.all {
        Plan::all()
    } else {
        vec![Plan::new(args.event, args.envelope, args.data)]
    };

    let target = Target::new(args.url);
    let delays = args.retry.delays();
    let total = u64::from(args.count) * plans.len() as u64;
    let mut report = Report::new(total, expected);
    let mut ticks = (args.rate).map(|rate| interval(Duration::from_secs_f64(rate.recip())));
    let most = if ticks.is_some() { MAX_IN_FLIGHT } else { 1 };
    let mut running = JoinSet::new();
    let send_all = async {
        for plan in (0..args.count).flat_map(|_| &plans) {
            while running.len() >= most {
                if let Some(done) = running.join_next().await {
                    report.add(&joined(done)?);
                }
            }
            while let Some(done) = running.try_join_next() {
                report.add(&joined(done)?);
            }
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let (target, delays) = (target.clone(), delays.clone());
            let (delivery, retries) = (plan.delivery(&secret), report.retries());
            running.spawn(async move { target.send(delivery, &delays, &retries).await });
        }
        while let Some(done) = running.join_next().await {
            report.add(&joined(done)?);
        }
        Ok::<_, Error>(())
    };
    signals::listen()?;
    tokio::select! {
        sent = send_all => sent?,
        () = signals::received(1) => {
            report.finish();
            output::note("Interrupted: the other events were not sent.");
            return Err(Error::Interrupted);
        }
    }
    Ok(report.finish())
}

fn joined(done: Result<Delivered, JoinError>) -> Result<Delivered, Error> {
    done.map_err(|error| Error::failed(error.to_string()))
}
