use std::{borrow::Cow, error, fmt, str::FromStr, time::SystemTime};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny},
};

/// An instant, to the nanosecond, in the years 0000 to 9999.
///
/// It is read from RFC 3339, and also from what SoundHash's dispatcher writes, which is not:
/// an offset *and* a `Z`, as in `2026-11-23T08:56:12.681555+00:00Z`. It is printed as RFC 3339
/// in UTC.
///
/// ```
/// use std::time::SystemTime;
///
/// use soundhash_webhook::Timestamp;
///
/// let time: Timestamp = "2026-11-23T08:56:12.681555+00:00Z".parse()?;
/// assert_eq!(time.to_string(), "2026-11-23T08:56:12.681555Z");
/// let time: SystemTime = time.into();
/// # Ok::<(), soundhash_webhook::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub(super) jiff::Timestamp);

/// Length of a fraction with all the digits that are kept.
const NANOSECONDS: usize = ".123456789".len();

/// 0000-01-01T00:00:00Z. RFC 3339 has four digits for the year and no sign; the last year is
/// that of jiff, too.
const FIRST: jiff::Timestamp = jiff::Timestamp::constant(-62_167_219_200, 0);

impl Timestamp {
    pub(super) fn from_jiff(time: jiff::Timestamp) -> Result<Self, TimestampError> {
        if time >= FIRST {
            Ok(Self(time))
        } else {
            Err(TimestampError(()))
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = rfc3339(text).ok_or(TimestampError(()))?;
        // jiff takes more than RFC 3339, which is why the shape was checked before.
        let time = text.parse().map_err(|_| TimestampError(()))?;
        Self::from_jiff(time)
    }
}

/// `text` as RFC 3339, if that or the dispatcher's spelling is its shape, cut to nanoseconds.
fn rfc3339(text: &str) -> Option<Cow<'_, str>> {
    let (seconds, rest) = text.split_at_checked("2024-01-15T10:30:00".len())?;
    let shape = |pattern: &[u8], text: &str| {
        pattern.len() == text.len()
            && pattern
                .iter()
                .zip(text.bytes())
                .all(|(pattern, byte)| match pattern {
                    b'0' => byte.is_ascii_digit(),
                    // RFC 3339 §5.6 allows lower case, and a space for readability.
                    b'T' => matches!(byte, b'T' | b't' | b' '),
                    b'+' => matches!(byte, b'+' | b'-'),
                    _ => *pattern == byte,
                })
    };
    if !shape(b"0000-00-00T00:00:00", seconds) {
        return None;
    }
    let fraction = match rest.strip_prefix('.') {
        Some(digits) => digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let (fraction, offset) = match (rest.starts_with('.'), fraction) {
        (true, 0) => return None,
        (true, digits) => rest.split_at(1 + digits),
        (false, _) => ("", rest),
    };
    let offset = match offset {
        "Z" | "z" => offset,
        _ => {
            // The offset counts; a `Z` after it is the dispatcher's slip.
            let numeric = offset.strip_suffix('Z').unwrap_or(offset);
            let is_offset = shape(b"+00:00", numeric) && &numeric[1..3] < "24";
            is_offset.then_some(numeric)?
        }
    };
    if fraction.len() > NANOSECONDS {
        let fraction = &fraction[..NANOSECONDS];
        return Some(format!("{seconds}{fraction}{offset}").into());
    }
    let len = seconds.len() + fraction.len() + offset.len();
    Some(text[..len].into())
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        time.0.into()
    }
}

/// Fails outside of the years 0000 to 9999.
impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: SystemTime) -> Result<Self, Self::Error> {
        Self::from_jiff(time.try_into().map_err(|_| TimestampError(()))?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)?.ok_or_else(|| de::Error::custom(TimestampError(())))
    }
}

/// For the fields of payloads: whatever is not a time is none. An authentic event is worth
/// more than a date in it.
pub(super) fn lenient<'de, D>(deserializer: D) -> Result<Option<Timestamp>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Visitor)
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.parse().ok())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| None)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}

/// The text is not a [`Timestamp`], or the time is not in the years 0000 to 9999.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError(());

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time as RFC 3339 writes it")
    }
}

impl error::Error for TimestampError {}
