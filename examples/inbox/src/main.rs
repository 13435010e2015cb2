//! `cargo run -p soundhash-webhook-inbox-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, stores each event with a job in
//! Postgres, and responds with 202. Workers handle each event once by writing a row to
//! `acted_events`. `--help` lists the arguments and variables.

use std::{env, process::ExitCode, time::Duration};

use example_program::{CancellationToken, listen, print_all};
use soundhash_webhook::{BoxError, Secret};
use soundhash_webhook_inbox_example::{inbox::Inbox, receive, work};
use soundhash_webhook_sqlx::RecordedEvent;
use tokio::time::sleep;
use tracing::{debug, info, warn};

const HELP: &str = "\
Receives SoundHash webhooks, stores each event with a job in Postgres, and handles each event once.

Usage: soundhash-webhook-inbox-example [COMMAND]

Commands:
  (none)      receives and works in one process
  receive     only receives, in any number of processes
  work        only works, in any number of processes
  given-up    lists the jobs that failed too often: key, attempts and error, one job per line
  run-again   runs those jobs again, and prints their number

Variables:
  SOUNDHASH_WEBHOOK_SECRET    the endpoint's secret
  SOUNDHASH_WEBHOOK_ADDR      where to listen [default: 127.0.0.1:3000]
  SOUNDHASH_WEBHOOK_DATABASE  the URL of the Postgres database
                              [default: postgres://localhost/soundhash]
  RUST_LOG                    the filter of the log, which goes to stderr
                              [default: info,h2=error,sqlx=error]

Examples:
  soundhash-webhook-inbox-example
  soundhash-webhook-inbox-example receive
  soundhash-webhook-inbox-example given-up
";

/// The grace period for deliveries and jobs in progress after the first signal.
const GRACE: Duration = Duration::from_secs(10);

fn database() -> Result<String, BoxError> {
    match env::var("SOUNDHASH_WEBHOOK_DATABASE") {
        Err(env::VarError::NotPresent) => Ok("postgres://localhost/soundhash".into()),
        // The error would repeat the password.
        Err(_) => Err("SOUNDHASH_WEBHOOK_DATABASE is not UTF-8".into()),
        Ok(url) => Ok(url),
    }
}

async fn receive(secret: Secret, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
    let (server, _) = listen("/webhooks/soundhash").await?;
    let app = receive::app(secret, inbox);
    server.grace(GRACE).serve(app, stop.cancelled_owned()).await;
    Ok(())
}

async fn work(inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
    info!("waiting for jobs");
    let work = |event: &RecordedEvent| {
        // Put your own work here.
        let key = event.summary.key.as_str();
        debug!(key, bytes = event.body.len(), "working");
        Ok(())
    };
    work::run(inbox, work, stop).await;
    Ok(())
}

/// Receives, works, or does both until a signal arrives.
async fn serve(receives: bool, works: bool, stop: CancellationToken) -> Result<(), BoxError> {
    // The secret is read before connecting, so that a mistake is reported immediately.
    let secret = receives
        .then(|| Secret::from_env("SOUNDHASH_WEBHOOK_SECRET"))
        .transpose()?;
    let database = database()?;
    let run = async {
        let inbox = tokio::select! {
            inbox = Inbox::open_when_available(&database) => inbox?,
            () = stop.cancelled() => return Ok(()),
        };
        let receive = async {
            match secret {
                Some(secret) => receive(secret, inbox.clone(), stop.clone()).await,
                None => Ok(()),
            }
        };
        let work = async {
            match works {
                true => work(inbox.clone(), stop.clone()).await,
                false => Ok(()),
            }
        };
        tokio::try_join!(receive, work).map(drop)
    };
    tokio::select! {
        done = run => done,
        () = async { stop.cancelled().await; sleep(GRACE).await } => {
            warn!("not everything has ended after {GRACE:?}; it is delivered or run again");
            Ok(())
        }
    }
}

/// Lists the jobs that were given up on, one per line.
async fn list_given_up() -> Result<(), BoxError> {
    let jobs = Inbox::open(&database()?).await?.given_up().await?;
    let lines = jobs.iter().map(|job| {
        // The sender chooses the key, so it is quoted.
        let (key, error) = (&job.key, job.last_error.as_deref().unwrap_or_default());
        format!("{key:?} {} {error:?}\n", job.attempts)
    });
    Ok(print_all(&lines.collect::<String>()).await?)
}

async fn run_again() -> Result<(), BoxError> {
    let jobs = Inbox::open(&database()?).await?.run_again().await?;
    Ok(print_all(&jobs.to_string()).await?)
}

async fn run(stop: CancellationToken) -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Commands that finish on their own can be canceled.
    let done = match arguments[..] {
        [] => Some(serve(true, true, stop).await),
        ["receive"] => Some(serve(true, false, stop).await),
        ["work"] => Some(serve(false, true, stop).await),
        ["given-up"] => stop.run_until_cancelled(list_given_up()).await,
        ["run-again"] => stop.run_until_cancelled(run_again()).await,
        ["help" | "-h" | "--help"] => Some(print_all(HELP).await.map_err(BoxError::from)),
        _ => Some(Err(
            format!("unknown arguments {arguments:?}: see --help").into()
        )),
    };
    done.unwrap_or_else(|| Err("interrupted".into()))
}

fn main() -> ExitCode {
    example_program::run(|stop| Box::pin(run(stop)))
}
