//! The end of the process, at SIGINT or SIGTERM.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Resolves for everyone who waits for the end, also if the signal came earlier.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<()>);

impl Stop {
    /// Listens to signals from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot listen to signals.
    pub fn at_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, stop) = watch::channel(());
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // The closed channel is the message.
            drop(sender);
        });
        Ok(Self(stop))
    }

    /// Resolves when the process receives one of the signals.
    pub async fn told(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
