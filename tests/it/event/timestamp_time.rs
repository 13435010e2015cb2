//! Conversions between [`Timestamp`] and the `time` types.

use soundhash_webhook::Timestamp;
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

use super::timestamp::{FIRST, OFFSET, are_rejected, go_there_and_back};

#[test]
fn instants_of_time_are_converted() {
    go_there_and_back::<OffsetDateTime>(|it| (it.unix_timestamp(), it.nanosecond()));
    let timestamp: Timestamp = OFFSET.1.parse().unwrap();
    let offset = UtcOffset::from_hms(5, 30, 0).unwrap();
    let instant = OffsetDateTime::from(timestamp).to_offset(offset);
    assert_eq!(instant.try_into(), Ok(timestamp));

    let first: Timestamp = FIRST.parse().unwrap();
    let before = OffsetDateTime::from(first) - Duration::nanoseconds(1);
    let last_day = Date::from_calendar_date(9999, Month::December, 31).unwrap();
    are_rejected([before, OffsetDateTime::new_utc(last_day, Time::MIDNIGHT)]);
}
