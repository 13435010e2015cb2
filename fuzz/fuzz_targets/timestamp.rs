//! Parses timestamps from arbitrary text and from text of the right shape, and compares the results
//! with chrono's.
#![no_main]

use std::fmt::Write;

use arbitrary::{Arbitrary, Unstructured};
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use soundhash_webhook::Timestamp;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        check(text);
    }
    let mut input = Unstructured::new(data);
    if let Ok(parts) = Parts::arbitrary(&mut input) {
        check(&parts.text());
    }
});

/// Returns the time that chrono parses, or `None` if the text is not RFC 3339.
fn expected(text: &str) -> Option<DateTime<Utc>> {
    // chrono also accepts the typographic minus sign.
    if !text.is_ascii() {
        return None;
    }
    let instant = DateTime::parse_from_rfc3339(rfc3339(text)).ok()?;
    Some(instant.to_utc())
}

/// Removes the `Z` that SoundHash's dispatcher appends to an offset.
fn rfc3339(text: &str) -> &str {
    match text.strip_suffix('Z') {
        Some(rest) if has_offset(rest) => rest,
        _ => text,
    }
}

fn has_offset(text: &str) -> bool {
    let start = text.len().saturating_sub("+00:00".len());
    text.get(start..)
        .is_some_and(|offset| offset.starts_with(['+', '-']))
}

fn check(text: &str) {
    let last: Timestamp = "9999-12-30T22:00:00.999999999Z".parse().expect("the last");
    match (text.parse::<Timestamp>(), expected(text)) {
        (Ok(timestamp), Some(instant)) => {
            // During a leap second, chrono's nanoseconds exceed one second.
            assert_eq!(Timestamp::try_from(instant), Ok(timestamp), "{text}");
            check_value(timestamp);
        }
        // jiff accepts more formats than just RFC 3339, but fewer fractional digits.
        (Ok(timestamp), None) => check_value(timestamp),
        (Err(_), None) => {}
        (Err(error), Some(instant)) => {
            let first: DateTime<Utc> = "0000-01-01T00:00:00Z".parse().expect("the first");
            let is_out_of_range = instant < first || instant > DateTime::from(last);
            assert!(
                is_out_of_range || has_long_fraction(text),
                "{text}: {error}"
            );
        }
    }
}

fn has_long_fraction(text: &str) -> bool {
    let mut runs = text.split(|digit: char| !digit.is_ascii_digit());
    runs.any(|digits| digits.len() > 9)
}

/// Checks that a timestamp is printed as RFC 3339, and that every round-trip conversion leaves it
/// unchanged.
fn check_value(timestamp: Timestamp) {
    let text = timestamp.to_string();
    assert_eq!(text.parse(), Ok(timestamp));
    let instant = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
    assert_eq!(Timestamp::try_from(instant), Ok(timestamp));
    assert_eq!(DateTime::<Utc>::from(timestamp), instant);
    assert_eq!(
        Timestamp::try_from(std::time::SystemTime::from(timestamp)),
        Ok(timestamp)
    );
    let json = serde_json::to_string(&timestamp).expect("JSON");
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(
        serde_json::from_str::<Timestamp>(&json).expect("JSON"),
        timestamp
    );
}

/// Text that resembles a timestamp.
#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    separator: Separator,
    fraction: Option<(u64, u8)>,
    zone: Zone,
    junk: Option<(u8, &'a str)>,
}

#[derive(Arbitrary, Debug)]
enum Separator {
    Upper,
    Lower,
    Space,
    Other(char),
}

#[derive(Arbitrary, Debug)]
enum Zone {
    None,
    Utc,
    LowerUtc,
    Offset { east: bool, minutes: u16 },
    Any { hours: i8, minutes: u8 },
    OffsetAndUtc { hours: i8, minutes: u8 },
}

impl Parts<'_> {
    /// Formats the text. Each number may be slightly out of range.
    fn text(&self) -> String {
        let Parts { junk, .. } = self;
        let separator = match self.separator {
            Separator::Upper => 'T',
            Separator::Lower => 't',
            Separator::Space => ' ',
            Separator::Other(other) => other,
        };
        let mut text = format!(
            "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}",
            self.year % 10_001,
            self.month % 14,
            self.day % 33,
            self.hour % 26,
            self.minute % 62,
            self.second % 63,
        );
        if let Some((digits, width)) = self.fraction {
            let width = usize::from(width % 40);
            write!(text, ".{digits:0width$}").expect("a string takes all");
        }
        text += &self.zone.text();
        if let Some((at, junk)) = junk {
            let at = usize::from(*at) % (text.len() + 1);
            if text.is_char_boundary(at) {
                text.insert_str(at, junk);
            }
        }
        text
    }
}

impl Zone {
    fn text(&self) -> String {
        match self {
            Zone::None => String::new(),
            Zone::Utc => "Z".into(),
            Zone::LowerUtc => "z".into(),
            Zone::Offset { east, minutes } => {
                let sign = if *east { '+' } else { '-' };
                let minutes = minutes % (24 * 60);
                format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            Zone::Any { hours, minutes } => format!("{hours:+03}:{minutes:02}"),
            Zone::OffsetAndUtc { hours, minutes } => format!("{hours:+03}:{minutes:02}Z"),
        }
    }
}
