use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SHAPE: Result<Timestamp, TimestampError> = Err(TimestampError(Fault::Shape));
const RANGE: Result<Timestamp, TimestampError> = Err(TimestampError(Fault::Range));

#[track_caller]
fn prints(text: &str, expected: &str) {
    let timestamp: Timestamp = text.parse().unwrap();
    assert_eq!(timestamp.to_string(), expected);
    assert_eq!(expected.parse(), Ok(timestamp));
}

#[test]
fn the_four_spellings_of_soundhash_are_read() {
    prints("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z");
    prints(
        "2026-11-23T08:55:32.330187+00:00",
        "2026-11-23T08:55:32.330187Z",
    );
    prints("2026-11-23T08:56:12.681555Z", "2026-11-23T08:56:12.681555Z");
    prints(
        "2026-11-23T08:56:12.681555+00:00Z",
        "2026-11-23T08:56:12.681555Z",
    );
    prints("2026-11-23T08:56:12+00:00Z", "2026-11-23T08:56:12Z");
}

#[test]
fn everything_that_rfc_3339_allows_is_read() {
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
fn a_long_fraction_is_cut_off_at_nanoseconds() {
    prints(
        "2024-01-15T10:30:00.9999999999999Z",
        "2024-01-15T10:30:00.999999999Z",
    );
    prints(
        "1969-12-31T23:59:59.1234567891Z",
        "1969-12-31T23:59:59.123456789Z",
    );
    let long = format!("2024-01-15T10:30:00.{}Z", "1".repeat(100_000));
    prints(&long, "2024-01-15T10:30:00.111111111Z");
}

#[test]
fn with_an_offset_and_a_z_the_offset_counts() {
    prints("2024-01-15T10:30:00+02:00Z", "2024-01-15T08:30:00Z");
    prints("2024-01-15T10:30:00-02:00Z", "2024-01-15T12:30:00Z");
}

#[test]
fn nothing_else_has_the_shape() {
    for text in [
        "",
        "now",
        "1795424132",
        "2024-01-15",
        "2024-01-15T10:30Z",
        "2024-01-15T10:30:00",
        "2024-01-15T10:30:00ZZ",
        "2024-01-15T10:30:00Z+00:00",
        "2024-01-15T10:30:00+00:00z",
        "2024-01-15T10:30:00+00:00ZZ",
        "2024-01-15T10:30:00+00",
        "2024-01-15T10:30:00+0000",
        "2024-01-15T10:30:00+24:00",
        "2024-01-15T10:30:00+00:60",
        "2024-01-15T10:30:00+00:00:00",
        "2024-01-15T10:30:00+00:00[Europe/Berlin]",
        "2024-01-15T10:30:00Z[UTC]",
        "2024-01-15T10:30:00.Z",
        "2024-01-15T10:30:00,5Z",
        "2024-01-15_10:30:00Z",
        "20240115T103000Z",
        "+002024-01-15T10:30:00Z",
        "-0001-01-15T10:30:00Z",
        " 2024-01-15T10:30:00Z",
        "2024-01-15T10:30:00Z ",
        "2024-1-15T10:30:00Z",
        "2024-01-15T24:00:00Z",
        "2024-01-15T10:60:00Z",
        "2024-01-15T10:30:61Z",
        "2024-02-30T10:30:00Z",
        "2023-02-29T10:30:00Z",
        "2024-13-01T10:30:00Z",
        "２０２４-01-15T10:30:00Z",
    ] {
        assert_eq!(text.parse(), SHAPE, "{text}");
    }
}

#[test]
fn an_instant_outside_the_years_0000_to_9999_is_refused() {
    assert_eq!("0000-01-01T00:00:00+00:01".parse(), RANGE);
    assert_eq!("9999-12-31T23:59:59Z".parse(), RANGE);
    let error = TimestampError(Fault::Range).to_string();
    assert_eq!(error, "timestamp outside the years 0000 to 9999");
}

#[test]
fn system_time_goes_there_and_back() {
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
    assert_eq!(Timestamp::try_from(before), RANGE);
}

#[test]
fn json_is_a_string_and_a_bad_one_is_refused() {
    let timestamp: Timestamp = serde_json::from_str(r#""2024-01-15T10:30:00+00:00""#).unwrap();
    assert_eq!(
        serde_json::to_string(&timestamp).unwrap(),
        r#""2024-01-15T10:30:00Z""#
    );
    assert_eq!(format!("{timestamp:?}"), "Timestamp(2024-01-15T10:30:00Z)");

    let error = serde_json::from_str::<Timestamp>(r#""now""#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not an RFC 3339 timestamp at line 1 column 5"
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
    fn what_is_printed_is_read_equal(
        second in FIRST_SECOND..=jiff::Timestamp::MAX.as_second(),
        nanosecond in prop_oneof![Just(0), 0..1_000_000_000],
    ) {
        let instant = jiff::Timestamp::new(second, nanosecond).unwrap();
        let timestamp = Timestamp::new(instant).unwrap_or(Timestamp(jiff::Timestamp::UNIX_EPOCH));
        prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
    }

    // jiff's own parser as the judge, within what both take.
    #[test]
    fn jiff_reads_the_same_instant(
        text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,9})?(Z|z|[+-][01][0-9]:[0-5][0-9])",
    ) {
        let expected = text.parse::<jiff::Timestamp>().ok().and_then(|i| Timestamp::new(i).ok());
        prop_assert_eq!(text.parse::<Timestamp>().ok(), expected);
    }

    // chrono's parser as a second judge, which shares no code with jiff.
    #[test]
    fn chrono_reads_the_same_instant(
        text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,15})?(Z|z|[+-][01][0-9]:[0-5][0-9])",
    ) {
        let expected = chrono::DateTime::parse_from_rfc3339(&text).ok();
        // Without the last hours of 9999, and before 0000.
        let seconds = FIRST_SECOND..=jiff::Timestamp::MAX.as_second();
        let expected = expected.filter(|instant| seconds.contains(&instant.timestamp()));
        // In a leap second chrono counts on, to two seconds less a nanosecond.
        let expected = expected.map(|instant| {
            let nanosecond = i128::from(instant.timestamp_subsec_nanos() % 1_000_000_000);
            i128::from(instant.timestamp()) * 1_000_000_000 + nanosecond
        });
        let read = text.parse::<Timestamp>().ok().map(|read| read.get().as_nanosecond());
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_text_panics(text in "[0-9TtZz:+\\-. ,\\[\\]é]{0,40}") {
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        }
    }
}
