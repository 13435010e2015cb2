//! `reconcile`: finds the events that never arrived.
//!
//! - `recorded`: reads the application's records
//! - `print`: prints the report, for people and for Prometheus

mod print;
pub(crate) mod recorded;

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use soundhash_webhook_reconcile::{Log, Report, Verdict, Window, reconcile};

use self::recorded::RecordedArgs;
use crate::{
    api::{Api, model},
    error::Error,
    output, shell, signals,
    url::{parse_id, parse_seconds, parse_time},
};

/// Find the events that never arrived, in SoundHash's log and in your records
#[derive(Args)]
#[command(after_help = "\
The command reads SoundHash's log of deliveries and reports events whose attempts all failed. With \
--recorded, or with --database of a build with the feature `database`, it also reports times in \
which SoundHash delivered more events than you recorded, because a redirect, a login page or a proxy \
responded instead of your application. The log does not have the ids of events, so they can only be \
counted: `at least 1 of 3`.

SoundHash's API shows the last 1000 attempts of each status. The command warns if a part of the \
window is older. Run it every hour, for example with cron, and with a --since of several hours.

--on-missing COMMAND runs if events are missing, with SOUNDHASH_MISSING_SINCE, \
SOUNDHASH_MISSING_UNTIL and SOUNDHASH_MISSING_COUNT in its environment, and with the report as JSON \
on its standard input. It can ask SoundHash's API for the resources that changed then, or in the \
minutes before. It runs each time that the command finds these events missing.

Tokens expire after half an hour. A refresh token lasts a week. A --token-command can log in.

Environment:
  SOUNDHASH_API_URL            Scheme and host of the API, without /api/v1
  SOUNDHASH_API_TOKEN          The bearer token of your account
  SOUNDHASH_API_REFRESH_TOKEN  Renews the bearer token when it has expired
  SOUNDHASH_WEBHOOK_DATABASE   The database, with the feature `database`
  HTTP_PROXY, HTTPS_PROXY      Proxies, except for this machine and NO_PROXY

Examples:
  $ soundhash-webhook listen --json >>deliveries.jsonl
  $ soundhash-webhook reconcile --recorded deliveries.jsonl
  $ soundhash-webhook reconcile --endpoint 7 --since 6h --json
  $ SOUNDHASH_WEBHOOK_DATABASE=postgres://app@localhost/app \\
      soundhash-webhook reconcile
  $ soundhash-webhook reconcile --recorded deliveries.jsonl --since 6h \\
      --token-command ./log-in --on-missing ./fetch-resources \\
      --prometheus /var/lib/node_exporter/soundhash.prom

Exit status: 0 every event arrived, 1 at least one is missing, 2 this is unknown, or \
wrong usage")]
pub(crate) struct ReconcileArgs {
    /// Check only these endpoints, which should be the ones that the records cover [default: all]
    #[arg(long = "endpoint", value_name = "ID", value_delimiter = ',', value_parser = parse_id)]
    endpoints: Vec<String>,
    /// The beginning of the window: a time, or its age, such as 90m or 2d; without an offset, the
    /// time is local
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_time)]
    since: Timestamp,
    /// The end of the window; SoundHash may still be retrying newer events
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = parse_time)]
    until: Timestamp,
    #[command(flatten)]
    recorded: RecordedArgs,
    /// The maximum difference between SoundHash's clock and that of the records
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    clock_difference: Duration,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the counts to this file, for Prometheus's textfile collector
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// Run this command in a shell if events are missing
    #[arg(long, value_name = "COMMAND")]
    on_missing: Option<String>,
    /// Run this command in a shell to get a token, if none is set or it has expired
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// Wait this long for each API response
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
    /// Repeat each request for this long while the API is busy or fails
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = parse_seconds)]
    patience: Duration,
}

pub(crate) async fn run(args: ReconcileArgs) -> Result<bool, Error> {
    if args.since >= args.until {
        return Err(Error::usage(
            "--since must be before --until, which is 20m by default",
        ));
    }
    signals::listen()?;
    tokio::select! {
        biased;
        () = signals::received(1) => Err(Error::Interrupted),
        // If any step fails, it is unknown whether events are missing.
        ran = run_decided(args) => ran.map_err(Error::undecided),
    }
}

async fn run_decided(args: ReconcileArgs) -> Result<bool, Error> {
    let api = Api::from_env(args.timeout, args.token_command)?.patience(args.patience);
    let mut window = Window::new(args.since, args.until);
    let (endpoints, label) = match args.endpoints.is_empty() {
        true => (all(&api).await?, "all".to_owned()),
        false => (args.endpoints.clone(), args.endpoints.join(",")),
    };
    let mut logs = Vec::new();
    for id in &endpoints {
        logs.push(log(&api, id, args.since).await?);
    }
    window.clock_difference = clock_difference(&api, args.clock_difference)?;
    // SoundHash's clock decides when a retry is due.
    window.now += api.clock_ahead();
    let recorded = args.recorded.read(&window).await?;
    let report = reconcile(&logs, recorded.as_deref(), &window);

    print::report(&report, args.json);
    let written = args
        .prometheus
        .map(|path| print::write_prometheus(&report, &label, &path));
    let ran = match args.on_missing.zip(report.missing_window()) {
        Some((command, missing)) => Some(run_hook(&command, missing, &report).await),
        None => None,
    };
    let mut ended: Vec<_> = [written, ran].into_iter().flatten().collect();
    // A report that nobody could read must not have the exit status of a missing event.
    ended.push(match output::finish().await {
        Err(error) if error.is_broken_pipe() => Ok(()),
        finished => finished,
    });
    let mut errors = ended.into_iter().filter_map(Result::err);
    match report.verdict() {
        Verdict::Complete => errors.next().map_or(Ok(true), Err),
        Verdict::Missing => {
            errors.for_each(|error| output::error(&error));
            Ok(false)
        }
        Verdict::Unknown => {
            errors.for_each(|error| output::error(&error));
            Err(Error::failed(
                "it is not known yet whether every event arrived, as shown above",
            ))
        }
    }
}

async fn all(api: &Api) -> Result<Vec<String>, Error> {
    let endpoints: Vec<model::Endpoint> = model::read(&api.get(&[], &[]).await?)?;
    if endpoints.is_empty() {
        return Err(Error::failed("this account has no endpoints"));
    }
    Ok(endpoints
        .iter()
        .map(|endpoint| endpoint.id.to_string())
        .collect())
}

async fn log(api: &Api, id: &str, since: Timestamp) -> Result<Log, Error> {
    let mut log = Log::new(id);
    while let Some(query) = log.query(since) {
        log.add(model::read(&api.get(&[id, "deliveries"], query).await?)?);
    }
    Ok(log)
}

/// Returns the clock difference that the user allows, or the measured one if it is larger.
fn clock_difference(api: &Api, allowed: Duration) -> Result<SignedDuration, Error> {
    let allowed = SignedDuration::try_from(allowed).unwrap_or(SignedDuration::MAX);
    let ahead = api.clock_ahead();
    // Allows for 2 more seconds, because the API reports its time in whole seconds and its response
    // takes time to arrive.
    let measured = ahead.abs().saturating_add(SignedDuration::from_secs(2));
    if measured <= allowed.max(SignedDuration::from_secs(5)) {
        return at_most_an_hour(allowed);
    }
    output::warning(format_args!(
        "SoundHash's clock is {} seconds {} the clock of this machine. Events are compared within \
         this difference, so fewer missing events are found. Synchronize the clock of this machine.",
        ahead.abs().as_secs(),
        if ahead.is_negative() {
            "behind"
        } else {
            "ahead of"
        }
    ));
    at_most_an_hour(allowed.max(measured))
}

/// Returns an error if the difference is more than an hour. Such a difference would hide every
/// missing event, and searching within it would take too long.
fn at_most_an_hour(difference: SignedDuration) -> Result<SignedDuration, Error> {
    if difference > SignedDuration::from_hours(1) {
        return Err(Error::failed(
            "the clocks differ by more than an hour: set the clock of this machine, or of the machine that recorded the events",
        ));
    }
    Ok(difference)
}

/// Runs the user's `--on-missing` command with the report on its standard input.
async fn run_hook(
    line: &str,
    missing: (Timestamp, Timestamp),
    report: &Report,
) -> Result<(), Error> {
    let failed = |reason: String| Error::failed(format!("--on-missing {reason}"));
    let mut command = shell::shell(line);
    command
        .env("SOUNDHASH_MISSING_SINCE", missing.0.to_string())
        .env("SOUNDHASH_MISSING_UNTIL", missing.1.to_string())
        .env("SOUNDHASH_MISSING_COUNT", report.missing().to_string())
        // Standard output is reserved for this command's report.
        .stdout(io::stderr());
    match shell::run(&mut command, print::json(report).as_bytes()).await {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => Err(failed(format!("failed ({})", ran.status))),
        Err(error) => Err(failed(format!("cannot be run: {error}"))),
    }
}
