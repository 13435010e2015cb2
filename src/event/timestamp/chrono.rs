//! Conversions to and from `chrono::DateTime`.

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

use super::{Timestamp, TimestampError};

impl From<Timestamp> for DateTime<Utc> {
    fn from(timestamp: Timestamp) -> Self {
        let instant = timestamp.get();
        // The sum is also correct before 1970, where jiff's fractional second is negative. It
        // cannot overflow, because chrono's range is far larger than the years 0000 to 9999.
        Self::UNIX_EPOCH
            + TimeDelta::seconds(instant.as_second())
            + TimeDelta::nanoseconds(instant.subsec_nanosecond().into())
    }
}

impl<Tz: TimeZone> TryFrom<DateTime<Tz>> for Timestamp {
    type Error = TimestampError;

    /// Converts an instant. As in parsing, a leap second becomes the second before it.
    ///
    /// # Errors
    ///
    /// Returns an error if the instant is before the year 0000 or after the last [`Timestamp`].
    fn try_from(instant: DateTime<Tz>) -> Result<Self, TimestampError> {
        // In a leap second, chrono's nanoseconds exceed one second.
        let nanosecond = i128::from(instant.timestamp_subsec_nanos() % 1_000_000_000);
        let nanoseconds = i128::from(instant.timestamp()) * 1_000_000_000 + nanosecond;
        let instant = jiff::Timestamp::from_nanosecond(nanoseconds);
        // If jiff cannot represent the instant, jiff's minimum is passed instead, which
        // `Timestamp::new` rejects.
        Timestamp::new(instant.unwrap_or(jiff::Timestamp::MIN))
    }
}
