//! The request to stop: SIGINT or SIGTERM.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Informs any number of tasks that the process was asked to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<()>);

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot listen for signals.
    pub fn at_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, stop) = watch::channel(());
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // The first signal closes the channel.
            drop(sender);
        });
        Ok(Self(stop))
    }

    /// Resolves after the first signal.
    pub async fn told(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
