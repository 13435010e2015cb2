//! Conversions between [`Timestamp`] and the `chrono` types.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use soundhash_webhook::Timestamp;

use super::timestamp::{FIRST, OFFSET, are_rejected, go_there_and_back};

#[test]
fn instants_of_chrono_are_converted() {
    go_there_and_back::<DateTime<Utc>>(|it| (it.timestamp(), it.timestamp_subsec_nanos()));
    let (text, same) = OFFSET;
    let instant = DateTime::parse_from_rfc3339(text).unwrap();
    assert_eq!(Timestamp::try_from(instant), Ok(same.parse().unwrap()));

    let first: Timestamp = FIRST.parse().unwrap();
    let before = DateTime::from(first) - TimeDelta::nanoseconds(1);
    are_rejected([before, DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC]);
}

#[test]
fn a_leap_second_is_read_as_in_text() {
    let day = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
    let leap = day.and_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap();
    let timestamp: Timestamp = "2016-12-31T23:59:60.5Z".parse().unwrap();
    assert_eq!(leap.and_utc().try_into(), Ok(timestamp));
}
