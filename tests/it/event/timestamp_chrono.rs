//! Conversions between [`Timestamp`] and the types of `chrono`.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use soundhash_webhook::Timestamp;

use super::timestamp::{INSTANTS, RANGE};

#[test]
fn instants_go_there_and_back() {
    for (text, second, nanosecond) in INSTANTS {
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
        assert_eq!(error.to_string(), RANGE);
    }
}
