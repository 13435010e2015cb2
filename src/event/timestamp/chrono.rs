//! Conversions from and to the type of `chrono`.

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

use super::{Timestamp, TimestampError};

impl From<Timestamp> for DateTime<Utc> {
    fn from(timestamp: Timestamp) -> Self {
        let instant = timestamp.get();
        // Before 1970, jiff's fraction of the second is negative as well. The sum cannot overflow:
        // chrono's range is far larger than the years 0000 to 9999.
        Self::UNIX_EPOCH
            + TimeDelta::seconds(instant.as_second())
            + TimeDelta::nanoseconds(instant.subsec_nanosecond().into())
    }
}

impl<Tz: TimeZone> TryFrom<DateTime<Tz>> for Timestamp {
    type Error = TimestampError;

    /// Converts an instant. A leap second becomes the second before it, as in parsing.
    ///
    /// # Errors
    ///
    /// Returns an error if the instant is before the year 0000 or after the last [`Timestamp`].
    fn try_from(instant: DateTime<Tz>) -> Result<Self, TimestampError> {
        // In a leap second, chrono's nanoseconds exceed one second.
        let nanosecond = i128::from(instant.timestamp_subsec_nanos() % 1_000_000_000);
        let nanoseconds = i128::from(instant.timestamp()) * 1_000_000_000 + nanosecond;
        let instant = jiff::Timestamp::from_nanosecond(nanoseconds);
        // An instant that jiff cannot represent is rejected like jiff's first instant.
        Timestamp::new(instant.unwrap_or(jiff::Timestamp::MIN))
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_go_there_and_back() {
        for (text, second, nanosecond) in [
            ("0000-01-01T00:00:00Z", -62_167_219_200, 0),
            ("1969-12-31T23:59:59.9Z", -1, 900_000_000),
            ("1970-01-01T00:00:00Z", 0, 0),
            (
                "9999-12-30T22:00:00.999999999Z",
                253_402_207_200,
                999_999_999,
            ),
        ] {
            let timestamp: Timestamp = text.parse().unwrap();
            let instant = DateTime::from(timestamp);
            assert_eq!(
                (instant.timestamp(), instant.timestamp_subsec_nanos()),
                (second, nanosecond)
            );
            assert_eq!(instant.try_into(), Ok(timestamp));
        }
    }

    #[test]
    fn the_offset_does_not_matter() {
        let instant = DateTime::parse_from_rfc3339("2024-01-15T10:30:00+05:30").unwrap();
        let timestamp: Timestamp = "2024-01-15T05:00:00Z".parse().unwrap();
        assert_eq!(instant.try_into(), Ok(timestamp));
    }

    #[test]
    fn a_leap_second_is_read_as_in_text() {
        let day = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
        let leap = day.and_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap();
        let timestamp: Timestamp = "2016-12-31T23:59:60.5Z".parse().unwrap();
        assert_eq!(leap.and_utc().try_into(), Ok(timestamp));
    }

    #[test]
    fn other_years_are_rejected() {
        let first: Timestamp = "0000-01-01T00:00:00Z".parse().unwrap();
        for instant in [
            DateTime::from(first) - TimeDelta::nanoseconds(1),
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MAX_UTC,
        ] {
            let error = Timestamp::try_from(instant).unwrap_err();
            assert_eq!(
                error.to_string(),
                "timestamp outside the years 0000 to 9999"
            );
        }
    }

    proptest! {
        #[test]
        fn every_instant_goes_there_and_back(
            second in -62_167_219_200..=253_402_207_200i64,
            nanosecond in 0..1_000_000_000u32,
        ) {
            let instant = DateTime::from_timestamp(second, nanosecond).unwrap();
            let timestamp = Timestamp::try_from(instant).unwrap();
            prop_assert_eq!(DateTime::from(timestamp), instant);
        }
    }
}
