//! A server's limits, which are lowered if the process may not open enough files.

use std::time::Duration;

use tracing::info;

/// Longer durations are shortened to this one, because a deadline that is too far in the future may
/// not be representable.
pub(crate) const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) max_per_peer: Option<usize>,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_age: Duration,
    pub(crate) grace: Duration,
    pub(crate) max_buf_size: usize,
    pub(crate) max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_per_peer: None,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_age: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(30),
            max_buf_size: 16 * 1024,
            max_streams: 64,
        }
    }
}

impl Limits {
    /// Lowers the limits so that an eighth of the process's file descriptors is left for the
    /// application.
    pub(crate) fn within_file_limit(mut self) -> Self {
        if let Some(files) = file_limit() {
            let most = files - files / 8;
            if most < self.max_connections {
                info!(
                    "at most {most} connections instead of {}, because the process may open only \
                     {files} files: raise the limit with `ulimit -n`, or LimitNOFILE= of systemd",
                    self.max_connections
                );
                self.max_connections = most;
            }
        }
        self.max_connections = self.max_connections.max(1);
        self
    }

    /// Returns the maximum number of connections per peer.
    pub(crate) fn share(&self) -> usize {
        let max = self.max_connections;
        self.max_per_peer.unwrap_or(max - max / 4).clamp(1, max)
    }
}

#[cfg(unix)]
fn file_limit() -> Option<usize> {
    let files = rlimit::Resource::NOFILE.get_soft().ok()?;
    Some(usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn file_limit() -> Option<usize> {
    None
}
