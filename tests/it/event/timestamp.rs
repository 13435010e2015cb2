//! Timestamps: parsing, printing and conversions.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use proptest::prelude::*;
use soundhash_webhook::Timestamp;

const TEXT: &str = "not an RFC 3339 timestamp in the years 0000 to 9999";
const RANGE: &str = "timestamp outside the years 0000 to 9999";

#[cfg(any(feature = "chrono", feature = "time"))]
pub(super) const FIRST: &str = "0000-01-01T00:00:00Z";

/// A time with an offset, and the same time without it.
#[cfg(any(feature = "chrono", feature = "time"))]
pub(super) const OFFSET: (&str, &str) = ("2024-01-15T10:30:00+05:30", "2024-01-15T05:00:00Z");

/// Converts timestamps to another crate's instants and back. `parts` returns an instant's seconds
/// since the Unix epoch and its nanoseconds.
#[cfg(any(feature = "chrono", feature = "time"))]
pub(super) fn go_there_and_back<T>(parts: fn(&T) -> (i64, u32))
where
    T: From<Timestamp> + TryInto<Timestamp, Error = soundhash_webhook::TimestampError>,
{
    for (text, second, nanosecond) in [
        (FIRST, -62_167_219_200, 0),
        ("1969-12-31T23:59:59.9Z", -1, 900_000_000),
        ("1970-01-01T00:00:00Z", 0, 0),
        (
            "9999-12-30T22:00:00.999999999Z",
            253_402_207_200,
            999_999_999,
        ),
    ] {
        let timestamp: Timestamp = text.parse().unwrap();
        let instant = T::from(timestamp);
        assert_eq!(parts(&instant), (second, nanosecond));
        assert_eq!(instant.try_into(), Ok(timestamp));
    }
}

/// Checks that instants outside the supported years are rejected.
#[cfg(any(feature = "chrono", feature = "time"))]
pub(super) fn are_rejected<T>(instants: impl IntoIterator<Item = T>)
where
    T: TryInto<Timestamp, Error = soundhash_webhook::TimestampError>,
{
    for instant in instants {
        assert_eq!(instant.try_into().unwrap_err().to_string(), RANGE);
    }
}

/// The range of seconds since the Unix epoch that a timestamp can represent.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

fn error(text: &str) -> String {
    text.parse::<Timestamp>().unwrap_err().to_string()
}

#[track_caller]
fn prints(text: &str, expected: &str) {
    let timestamp: Timestamp = text.parse().unwrap();
    assert_eq!(timestamp.to_string(), expected);
    assert_eq!(expected.parse(), Ok(timestamp));
}

#[test]
fn the_four_formats_of_soundhash_are_parsed() {
    prints("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z");
    let micros = "2026-11-23T08:56:12.681555Z";
    prints("2026-11-23T08:56:12.681555+00:00", micros);
    prints(micros, micros);
    prints("2026-11-23T08:56:12.681555+00:00Z", micros);
    prints("2026-11-23T08:56:12+00:00Z", "2026-11-23T08:56:12Z");
}

#[test]
fn rfc_3339_timestamps_are_read() {
    prints("2024-02-29t00:00:00z", "2024-02-29T00:00:00Z");
    prints("2024-01-15 10:30:00Z", "2024-01-15T10:30:00Z");
    prints("2024-01-15T10:30:00-00:00", "2024-01-15T10:30:00Z");
    prints("2024-01-15T10:30:00+05:30", "2024-01-15T05:00:00Z");
    prints("2024-01-15T10:30:00-23:59", "2024-01-16T10:29:00Z");
    prints("2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00.5Z");
    prints("2024-01-15T10:30:00.000Z", "2024-01-15T10:30:00Z");
    prints("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z");
    prints("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z");
    prints("0001-01-01T00:00:00+23:59", "0000-12-31T00:01:00Z");
    prints(
        "9999-12-30T22:00:00.999999999Z",
        "9999-12-30T22:00:00.999999999Z",
    );
}

#[test]
fn with_an_offset_and_a_z_the_offset_counts() {
    prints("2024-01-15T10:30:00+02:00Z", "2024-01-15T08:30:00Z");
    prints("2024-01-15T10:30:00-02:00Z", "2024-01-15T12:30:00Z");
}

#[test]
fn other_text_is_rejected() {
    for text in [
        "",
        "now",
        "1795424132",
        "2024-01-15",
        "2024-01-15T10:30:00",
        "2024-01-15T10:30:00ZZ",
        "2024-01-15T10:30:00Z+00:00",
        "2024-01-15T10:30:00+00:00z",
        "2024-01-15T10:30:00+00:00ZZ",
        "2024-01-15T10:30:00+30:00Z",
        "2024-01-15T10:30:00+00:60",
        "2024-01-15T10:30:00.Z",
        "2024-01-15_10:30:00Z",
        " 2024-01-15T10:30:00Z",
        "2024-01-15T10:30:00Z ",
        "2024-1-15T10:30:00Z",
        "2024-01-15T10:60:00Z",
        "2024-01-15T10:30:61Z",
        "2024-02-30T10:30:00Z",
        "2023-02-29T10:30:00Z",
        "2024-13-01T10:30:00Z",
        "9999-12-31T23:59:59Z",
        "２０２４-01-15T10:30:00Z",
        "+é:éZ",
    ] {
        assert_eq!(error(text), TEXT, "{text}");
    }
    assert_eq!(error("0000-01-01T00:00:00+00:01"), RANGE);
    assert_eq!(error("-000001-01-01T00:00:00Z"), RANGE);
}

#[test]
fn system_time_is_converted_there_and_back() {
    for text in [
        "2024-01-15T10:30:00.000000001Z",
        "1969-12-31T23:59:59.9Z",
        "0000-01-01T00:00:00Z",
    ] {
        let timestamp: Timestamp = text.parse().unwrap();
        assert_eq!(SystemTime::from(timestamp).try_into(), Ok(timestamp));
    }
    let epoch: Timestamp = "1970-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(SystemTime::from(epoch), SystemTime::UNIX_EPOCH);

    let year_0: Timestamp = "0000-01-01T00:00:00Z".parse().unwrap();
    let before = SystemTime::from(year_0) - Duration::from_nanos(1);
    let error = Timestamp::try_from(before).unwrap_err();
    assert_eq!(error.to_string(), RANGE);
}

#[test]
fn json_is_a_string_and_another_one_is_rejected() {
    let timestamp: Timestamp = serde_json::from_str(r#""2024-01-15T10:30:00+00:00""#).unwrap();
    assert_eq!(
        serde_json::to_string(&timestamp).unwrap(),
        r#""2024-01-15T10:30:00Z""#
    );
    assert_eq!(format!("{timestamp:?}"), "Timestamp(2024-01-15T10:30:00Z)");

    let error = serde_json::from_str::<Timestamp>(r#""now""#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not an RFC 3339 timestamp in the years 0000 to 9999 at line 1 column 5"
    );
    let error = serde_json::from_str::<Timestamp>("1")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "invalid type: integer `1`, expected an RFC 3339 timestamp at line 1 column 1"
    );
}

proptest! {
    #[test]
    fn a_printed_timestamp_is_read_back_equal(
        second in SECONDS,
        nanosecond in prop_oneof![Just(0), 0..1_000_000_000_u32],
    ) {
        let instant = DateTime::from_timestamp(second, nanosecond).unwrap();
        let text = format!("{instant:?}");
        let timestamp: Timestamp = text.parse().unwrap();
        prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        prop_assert_eq!(text.replace('Z', "+00:00").parse(), Ok(timestamp));
        prop_assert_eq!(text.replace('Z', "+00:00Z").parse(), Ok(timestamp));
    }

    #[test]
    fn no_text_panics(text in "[0-9TtZz:+\\-. ,\\[\\]é]{0,40}") {
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        }
    }
}
