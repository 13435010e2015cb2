//! The request to stop: SIGINT or SIGTERM.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Informs any number of tasks that the process was asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot listen for signals.
    pub(crate) fn at_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // The first signal closes the channel.
        let (open, stop) = watch::channel(());
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            drop(open);
        });
        Ok(Self(stop))
    }

    /// Resolves after the first signal.
    pub(crate) async fn requested(mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// Returns whether a signal has arrived.
    #[must_use]
    pub(crate) fn is_requested(&self) -> bool {
        self.0.has_changed().is_err()
    }
}
