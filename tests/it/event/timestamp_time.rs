//! Conversions between [`Timestamp`] and the types of `time`.

use soundhash_webhook::Timestamp;
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

use super::timestamp::{INSTANTS, RANGE};

#[test]
fn instants_go_there_and_back() {
    for (text, second, nanosecond) in INSTANTS {
        let timestamp: Timestamp = text.parse().unwrap();
        let instant = OffsetDateTime::from(timestamp);
        assert_eq!(
            (instant.unix_timestamp(), instant.nanosecond()),
            (second, nanosecond)
        );
        assert_eq!(instant.try_into(), Ok(timestamp));
    }
}

#[test]
fn the_offset_does_not_matter() {
    let timestamp: Timestamp = "2024-01-15T05:00:00Z".parse().unwrap();
    let offset = UtcOffset::from_hms(5, 30, 0).unwrap();
    let instant = OffsetDateTime::from(timestamp).to_offset(offset);
    assert_eq!(instant.hour(), 10);
    assert_eq!(instant.try_into(), Ok(timestamp));
}

#[test]
fn other_years_are_rejected() {
    let first: Timestamp = "0000-01-01T00:00:00Z".parse().unwrap();
    let last_day = Date::from_calendar_date(9999, Month::December, 31).unwrap();
    for instant in [
        OffsetDateTime::from(first) - Duration::nanoseconds(1),
        OffsetDateTime::new_utc(last_day, Time::MIDNIGHT),
    ] {
        let error = Timestamp::try_from(instant).unwrap_err();
        assert_eq!(error.to_string(), RANGE);
    }
}
