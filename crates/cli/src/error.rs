//! The errors that end a command, and their exit statuses.

use std::{fmt, io};

/// The reason that a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command was called with invalid arguments.
    Usage(String),
    /// The command failed.
    Failed(String),
    /// The body of a recorded event cannot be read, although the database works.
    #[cfg(feature = "database")]
    Damaged(String),
    /// The command could not determine its result.
    Undecided(String),
    /// The user interrupted the command.
    Interrupted,
    /// Writing to standard output failed.
    Output(io::Error),
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Turns a failure into [`Undecided`](Self::Undecided).
    pub(crate) fn undecided(self) -> Self {
        match self {
            Self::Failed(message) => Self::Undecided(message),
            Self::Output(_) => Self::Undecided(self.to_string()),
            other => other,
        }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns the exit status: 2 for incorrect usage, like clap's own errors, and 130 after
    /// Ctrl-C, as in shells.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Undecided(_) => 2,
            Self::Failed(_) | Self::Output(_) => 1,
            #[cfg(feature = "database")]
            Self::Damaged(_) => 1,
            Self::Interrupted => 130,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Undecided(message) => {
                f.write_str(message)
            }
            #[cfg(feature = "database")]
            Self::Damaged(message) => f.write_str(message),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}
