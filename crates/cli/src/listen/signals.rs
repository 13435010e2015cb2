//! Ctrl-C and SIGTERM.

use crate::error::Error;

/// Listens for signals from its creation on, so that no signal is missed between two calls.
pub(super) struct Signals {
    #[cfg(unix)]
    streams: [tokio::signal::unix::Signal; 2],
    #[cfg(windows)]
    stream: tokio::signal::windows::CtrlC,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        Self::listen().map_err(|error| Error::failed(format!("cannot listen for signals: {error}")))
    }

    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            streams: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            ],
        })
    }

    #[cfg(windows)]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            stream: tokio::signal::windows::ctrl_c()?,
        })
    }

    /// Resolves at the next signal.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.streams;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(windows)]
        self.stream.recv().await;
    }
}
