//! Counts how often Ctrl-C and SIGTERM are received, once a command has called [`listen`].

use std::{future, io, sync::OnceLock, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::error::Error;

/// How long to wait for output to be written after the first signal.
const GRACE: Duration = Duration::from_secs(1);

static RECEIVED: OnceLock<watch::Receiver<u32>> = OnceLock::new();

/// Starts counting signals, which then no longer terminate the process.
pub(crate) fn listen() -> Result<(), Error> {
    #[cfg(unix)]
    use tokio::signal::unix::{SignalKind, signal};

    let failed = |error: io::Error| Error::failed(format!("cannot listen for signals: {error}"));
    #[cfg(unix)]
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    #[cfg(unix)]
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    #[cfg(windows)]
    let mut interrupt = tokio::signal::windows::ctrl_c().map_err(failed)?;
    let (count, received) = watch::channel(0);
    let _ = RECEIVED.set(received);
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(windows)]
            interrupt.recv().await;
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(())
}

/// Returns how many signals have been received.
pub(crate) fn count() -> u32 {
    RECEIVED.get().map_or(0, |received| *received.borrow())
}

/// Resolves when this many signals have been received.
pub(crate) async fn received(number: u32) {
    match RECEIVED.get().cloned() {
        // An error means that the runtime is shutting down.
        Some(mut received) => drop(received.wait_for(|count| *count >= number).await),
        None => future::pending().await,
    }
}

/// Resolves when a finished command should stop waiting for its output to be written: at the next
/// signal, or after a short time if a signal stopped the command.
pub(crate) async fn patience() {
    match count() {
        0 => received(1).await,
        1 => tokio::select! {
            () = received(2) => {}
            () = sleep(GRACE) => {}
        },
        // This is long enough for a reader that has not stalled.
        _ => sleep(GRACE / 10).await,
    }
}
