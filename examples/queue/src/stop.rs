//! When it is time to stop.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// SIGINT or SIGTERM, for all who wait for it, also when it came before they did.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<()>);

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// If the process cannot listen to signals.
    pub fn at_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Closed when it is time.
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

    /// Resolves when it is time.
    pub async fn told(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
