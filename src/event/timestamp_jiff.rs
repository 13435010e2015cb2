use super::{Timestamp, TimestampError};

impl From<Timestamp> for jiff::Timestamp {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

/// Fails before the year 0000.
impl TryFrom<jiff::Timestamp> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: jiff::Timestamp) -> Result<Self, Self::Error> {
        Self::from_jiff(time)
    }
}
