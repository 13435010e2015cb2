//! Conversions to and from `jiff::Timestamp`.

use super::{Timestamp, TimestampError};

impl From<Timestamp> for jiff::Timestamp {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.get()
    }
}

impl TryFrom<jiff::Timestamp> for Timestamp {
    type Error = TimestampError;

    /// # Errors
    ///
    /// Returns an error if the instant is before the year 0000.
    fn try_from(instant: jiff::Timestamp) -> Result<Self, TimestampError> {
        Timestamp::new(instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jiff_instants_go_through_unchanged_and_earlier_years_are_rejected() {
        let last = Timestamp::try_from(jiff::Timestamp::MAX).unwrap();
        assert_eq!(jiff::Timestamp::from(last), jiff::Timestamp::MAX);

        let first: Timestamp = "0000-01-01T00:00:00Z".parse().unwrap();
        let before = jiff::Timestamp::from(first) - jiff::SignedDuration::from_nanos(1);
        let error = Timestamp::try_from(before).unwrap_err();
        assert_eq!(
            error.to_string(),
            "timestamp outside the years 0000 to 9999"
        );
    }
}
