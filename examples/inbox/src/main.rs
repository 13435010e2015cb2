//! `cargo run -p soundhash-webhook-inbox-example`
//!
//! Receives SoundHash webhooks at `POST /webhooks/soundhash`, stores each event with a job in
//! Postgres, and responds with 202. Workers handle each event once: they write a row into
//! `acted_events`. `--help` lists the arguments and variables.

use std::{
    env,
    io::{self, ErrorKind, Write},
    process::exit,
    time::Duration,
};

use soundhash_webhook::{BoxError, Secret};
use soundhash_webhook_inbox_example::{inbox::Inbox, receive, work};
use soundhash_webhook_server::{Server, shutdown_signal};
use soundhash_webhook_sqlx::RecordedEvent;
use tokio::{
    net::TcpListener,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::EnvFilter;

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
  RUST_LOG                    the filter of the log, which goes to stderr [default: info]

Examples:
  soundhash-webhook-inbox-example
  soundhash-webhook-inbox-example receive
  soundhash-webhook-inbox-example given-up
";

/// The time that deliveries and jobs in progress have after the first signal.
const GRACE: Duration = Duration::from_secs(10);

/// The number of log lines that wait for a slow reader. Further lines are discarded.
const LOG_LINES: usize = 10_000;

fn variable(name: &str, default: &str) -> Result<String, BoxError> {
    match env::var(name) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

fn database() -> Result<String, BoxError> {
    variable(
        "SOUNDHASH_WEBHOOK_DATABASE",
        "postgres://localhost/soundhash",
    )
}

/// Writes to stdout. A reader that has ended, such as `head`, is not an error.
fn print(text: &str) -> Result<(), BoxError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write to stdout: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Returns a token that the first SIGINT or SIGTERM cancels. The second one ends the process.
fn stop_at_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (signal, stopping) = (shutdown_signal()?, stop.clone());
    tokio::spawn(async move {
        signal.await;
        info!("stopping; a second signal ends the program at once");
        stopping.cancel();
    });
    Ok(stop)
}

async fn receive(secret: Secret, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
    let addr = variable("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:3000")?;
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!(
            "cannot listen on {addr:?} (SOUNDHASH_WEBHOOK_ADDR): {error}; \
             set it to a free address, such as 127.0.0.1:3000"
        )
    })?;
    info!(
        "listening on http://{}/webhooks/soundhash",
        listener.local_addr()?
    );
    let app = receive::app(secret, inbox);
    Server::new(listener)
        .grace(GRACE)
        .serve(app, stop.cancelled())
        .await;
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

/// Receives, works, or both, until a signal arrives.
async fn serve(receives: bool, works: bool) -> Result<(), BoxError> {
    let stop = stop_at_signals()?;
    // Read before the database is there, so that a mistake is reported at once.
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

async fn run() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => serve(true, true).await,
        ["receive"] => serve(true, false).await,
        ["work"] => serve(false, true).await,
        ["given-up"] => {
            let jobs = Inbox::open(&database()?).await?.given_up().await?;
            let lines = jobs.iter().map(|job| {
                // Quoted, because the sender chose the key.
                let (key, error) = (&job.key, job.last_error.as_deref().unwrap_or_default());
                format!("{key:?} {} {error:?}\n", job.attempts)
            });
            print(&lines.collect::<String>())
        }
        ["run-again"] => {
            let jobs = Inbox::open(&database()?).await?.run_again().await?;
            print(&format!("{jobs}\n"))
        }
        ["help" | "-h" | "--help"] => print(HELP),
        _ => Err(format!("unknown arguments {arguments:?}: see --help").into()),
    }
}

#[tokio::main]
async fn main() {
    // A separate thread writes the log, so that nothing waits for a reader that stalls.
    let log = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES);
    let (mut log, written) = log.finish(io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(log.clone())
        // The library would print them to stderr, which panics if stderr does not exist.
        .log_internal_errors(false)
        .init();
    let done = run().await;
    if let Err(error) = &done {
        // `RUST_LOG` must not hide it.
        let _ = writeln!(log, "Error: {error}");
    }
    let lost = log.error_counter().dropped_lines();
    if lost > 0 {
        warn!(
            lost,
            "lines of the log were lost, because they were not read in time"
        );
    }
    // Waits a moment for the rest of the log, and for nothing else.
    let _ = timeout(Duration::from_secs(1), spawn_blocking(|| drop(written))).await;
    exit(i32::from(done.is_err()));
}
