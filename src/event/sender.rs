//! SoundHash's two event senders.

use std::{fmt, str::FromStr};

/// One of SoundHash's two senders, each of which uses its own event envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The developer portal, whose envelope has the members `event`, `delivery_id` and `timestamp`,
    /// and whose JSON is indented.
    Portal,
    /// The dispatcher, whose envelope has the members `type`, `id` and `created_at`, and whose JSON
    /// is on one line.
    Dispatcher,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sender::Portal => "portal",
            Sender::Dispatcher => "dispatcher",
        })
    }
}

impl FromStr for Sender {
    type Err = UnknownSender;

    /// # Errors
    ///
    /// Returns an error if the text is neither `portal` nor `dispatcher`.
    fn from_str(s: &str) -> Result<Self, UnknownSender> {
        match s {
            "portal" => Ok(Sender::Portal),
            "dispatcher" => Ok(Sender::Dispatcher),
            _ => Err(UnknownSender(())),
        }
    }
}

/// The error from parsing a [`Sender`] from a string that is neither `portal` nor `dispatcher`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSender(());

impl fmt::Display for UnknownSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither `portal` nor `dispatcher`")
    }
}

impl std::error::Error for UnknownSender {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_read_what_they_print() {
        for sender in [Sender::Portal, Sender::Dispatcher] {
            assert_eq!(sender.to_string().parse(), Ok(sender));
        }
        assert_eq!("Portal".parse::<Sender>(), Err(UnknownSender(())));
    }
}
