//! Code shared by the example programs: startup, shutdown, output that does not delay deliveries,
//! and the application that serves a webhook.
//!
//! The programs exit on a signal even if nothing reads their output, their disk is full, or the
//! server that they connect to does not respond.

mod output;
mod webhook;

use std::{
    env,
    error::Error,
    fmt::Display,
    io::{self, ErrorKind, Write},
    iter,
    process::ExitCode,
    sync::LazyLock,
    time::Duration,
};

use soundhash_webhook::BoxError;
use soundhash_webhook_server::{Server, shutdown_signal};
use tokio::{net::TcpListener, runtime::Runtime, task::spawn_blocking, time::timeout};
pub use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::output::{Log, Printer, harmless, is_appended};
pub use crate::webhook::{receive, respond_after, run_webhook, secret, serve_webhook};

/// The maximum time that an exiting process waits for its last lines to be written and for blocked
/// threads.
const END: Duration = Duration::from_secs(1);

static STDOUT: LazyLock<Printer> =
    LazyLock::new(|| Printer::new(io::stdout(), is_appended(io::stdout())));

/// Runs a program to completion, logs to stderr, and returns the process's exit code. At most 1,000
/// lines per minute are logged from the same line of code, unless their level is `debug` or `trace`.
///
/// The first SIGINT or SIGTERM cancels the token, and the second one kills the process immediately.
pub fn run<F>(program: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = Result<(), BoxError>>,
{
    let log = Printer::new(io::stderr(), false);
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(Log::new(log.clone()))
        // `tracing_subscriber` prints its internal errors with `eprintln!`, which panics if stderr
        // is closed.
        .log_internal_errors(false)
        .finish()
        .with(filter())
        .init();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = log.queue(format!("cannot start the runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(async {
        let ended = async {
            let signal = shutdown_signal()?;
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            tokio::spawn(async move {
                signal.await;
                stopping.cancel();
            });
            program(stop).await
        };
        let (status, last) = match ended.await {
            Ok(()) => (ExitCode::SUCCESS, String::new()),
            // The error is not logged but written directly, so that the log filter cannot hide it.
            Err(error) => (ExitCode::FAILURE, harmless(&error.to_string()) + "\n"),
        };
        let _ = timeout(END, log.write(last)).await;
        status
    });
    // The process does not wait long for blocked threads. A hostname lookup, for example, can block
    // one for a minute.
    runtime.shutdown_timeout(END);
    status
}

/// The filter in `RUST_LOG`, such as `info,soundhash_webhook=debug`.
fn filter() -> Targets {
    // An empty filter would hide every line.
    set("RUST_LOG")
        .and_then(|filter| filter.parse().ok())
        .unwrap_or_else(|| {
            // An attacker can cause any number of warnings from these crates.
            let noisy = ["h2", "sqlx"].map(|target| (target, LevelFilter::ERROR));
            Targets::from_iter(noisy).with_default(LevelFilter::INFO)
        })
}

/// Prints a line to stdout and returns once it has been written. Characters that could control a
/// terminal or begin another line are escaped as in JSON.
///
/// # Errors
///
/// Returns an error if the line was not written within 5 seconds, because nothing reads stdout or
/// its disk is full. If something reads stdout again later, the line that was being written is
/// still printed, so a retried delivery can print its event a second time. Lines that were queued
/// behind it are not printed.
pub async fn print(line: impl Display) -> io::Result<()> {
    STDOUT.write(harmless(&line.to_string()) + "\n").await
}

/// Prints lines to stdout, escaped as in [`print()`], however slowly they are read.
///
/// It is not an error if the reader has exited, as `head` does.
///
/// # Errors
///
/// Returns an error if writing to stdout fails, for example because the disk is full.
pub async fn print_all(text: &str) -> io::Result<()> {
    let text: String = text.lines().map(|line| harmless(line) + "\n").collect();
    // Writes on another thread, so that a signal can interrupt the wait for a slow reader.
    let written = spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    });
    match written.await? {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write to stdout: {error}"))
        }),
    }
}

/// Listens on the address in `SOUNDHASH_WEBHOOK_ADDR`, or on `127.0.0.1:3000`. Logs and returns the
/// URL with the given path.
///
/// # Errors
///
/// Returns an error that tells the user what to do if the program cannot listen on the address.
pub async fn listen(path: &str) -> Result<(Server, String), BoxError> {
    let name = "SOUNDHASH_WEBHOOK_ADDR";
    let default = "127.0.0.1:3000";
    let addr = variable(name, default);
    let listener = TcpListener::bind(&addr).await;
    let listener = listener.map_err(|error| cannot_listen(name, &addr, default, error))?;
    let url = format!("http://{}{path}", listener.local_addr()?);
    info!("listening on {url}");
    Ok((Server::new(listener), url))
}

/// Returns the error to report when the program cannot listen on the address in `variable`.
pub fn cannot_listen(variable: &str, addr: &str, default: &str, error: impl Display) -> BoxError {
    format!(
        "{variable}: cannot listen on {addr:?}: {error}: set it to a free address of this machine, \
         such as {default}"
    )
    .into()
}

/// Returns the value of a variable, or `default` if it is not set or empty. A compose file passes an
/// unset variable as an empty one.
#[must_use]
pub fn variable(name: &str, default: &str) -> String {
    set(name).unwrap_or_else(|| default.into())
}

fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the error to report when the program cannot connect to the server at the URL in
/// `variable`.
pub fn cannot_connect(variable: &str, url: &str, error: impl Display) -> BoxError {
    let url = without_password(url);
    format!(
        "{variable}: cannot connect to {url:?}: {error}: start that server, or set {variable} to \
         the URL of a server that runs"
    )
    .into()
}

/// Returns an error's text with all of its causes, because the outermost error often lacks details.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = iter::successors(error.source(), |error| (*error).source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Removes the user, password, and query from one or more comma-separated URLs.
fn without_password(urls: &str) -> String {
    let urls = urls.split(',').map(|url| {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), url),
        };
        // In practice, passwords contain arbitrary characters, even ones that should have been
        // percent-encoded.
        let (secret, host) = match rest.rsplit_once('@') {
            Some((_, host)) => ("***@", host),
            None => ("", rest),
        };
        let host = host.split('?').next().unwrap_or_default();
        format!("{scheme}{secret}{host}")
    });
    urls.collect::<Vec<_>>().join(",")
}
