//! Conversions to and from `time::OffsetDateTime`.

use time::OffsetDateTime;

use super::{Timestamp, TimestampError};

impl From<Timestamp> for OffsetDateTime {
    /// Converts to UTC.
    fn from(timestamp: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(timestamp.get().as_nanosecond())
            .expect("time knows the years 0000 to 9999")
    }
}

impl TryFrom<OffsetDateTime> for Timestamp {
    type Error = TimestampError;

    /// # Errors
    ///
    /// Returns an error if the instant is before the year 0000 or after the last [`Timestamp`].
    fn try_from(instant: OffsetDateTime) -> Result<Self, TimestampError> {
        let instant = jiff::Timestamp::from_nanosecond(instant.unix_timestamp_nanos());
        // If jiff cannot represent the instant, jiff's minimum is passed instead, which
        // `Timestamp::new` rejects.
        Timestamp::new(instant.unwrap_or(jiff::Timestamp::MIN))
    }
}
