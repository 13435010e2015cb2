//! An instant, in all the ways in which SoundHash writes one.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

mod wire;

pub(super) use wire::lenient;

/// An instant, to the nanosecond, in the years 0000 to 9999.
///
/// It is read from RFC 3339 (with `T`, `t` or a space, `Z`, `z` or an offset, and a fraction of
/// any length of which nine digits count) and, beyond that, from what SoundHash's dispatcher
/// writes today: an offset *and* a `Z`, of which the offset counts. It prints as RFC 3339 in
/// UTC, with a fraction only where there is one. A leap second (`:60`) is read as `:59`.
///
/// The last instant is 9999-12-30T22:00:00.999999999Z, so that every offset can show it.
///
/// ```
/// use soundhash_webhook::Timestamp;
///
/// let live: Timestamp = "2026-11-23T08:56:12.681555+00:00Z".parse()?;
/// assert_eq!(live.to_string(), "2026-11-23T08:56:12.681555Z");
///
/// let same: Timestamp = "2026-11-23 10:56:12.681555+02:00".parse()?;
/// assert_eq!(live, same);
///
/// let age = std::time::SystemTime::now().duration_since(live.into());
/// # let _ = age;
/// # Ok::<(), soundhash_webhook::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// 0000-01-01T00:00:00Z in seconds from the Unix epoch: before it, a year has no four digits.
const FIRST_SECOND: i64 = -62_167_219_200;

impl Timestamp {
    /// The one way in: every `Timestamp` lies within the years that RFC 3339 can write.
    pub(super) fn new(instant: jiff::Timestamp) -> Result<Self, TimestampError> {
        // Not `as_second`, which rounds toward zero, into the range.
        if instant.as_nanosecond() < i128::from(FIRST_SECOND) * 1_000_000_000 {
            return Err(TimestampError(Fault::Range));
        }
        Ok(Timestamp(instant))
    }

    pub(super) fn get(self) -> jiff::Timestamp {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads what the type's documentation lists, and nothing else.
    ///
    /// # Errors
    ///
    /// If the text has another shape, or names no instant (February 30th), or one outside the
    /// years 0000 to 9999.
    fn from_str(s: &str) -> Result<Self, TimestampError> {
        // Not by jiff's parser: it also takes basic format, annotations in brackets and offsets
        // with seconds, but no more than nine digits of a fraction.
        let mut text = Cursor(s.as_bytes());
        let civil = text.civil().ok_or(TimestampError(Fault::Shape))?;
        let offset = text.offset().ok_or(TimestampError(Fault::Shape))?;
        if !text.0.is_empty() {
            return Err(TimestampError(Fault::Shape));
        }
        let instant = offset
            .to_timestamp(civil)
            .map_err(|_| TimestampError(Fault::Range))?;
        Timestamp::new(instant)
    }
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Date, separator and time.
    fn civil(&mut self) -> Option<jiff::civil::DateTime> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.two_digits()?;
        self.one_of(b"-")?;
        let day = self.two_digits()?;
        self.one_of(b"Tt ")?;
        let hour = self.two_digits()?;
        self.one_of(b":")?;
        let minute = self.two_digits()?;
        self.one_of(b":")?;
        let second = match self.two_digits()? {
            60 => 59,
            second => second,
        };
        let nanosecond = match self.one_of(b".") {
            Some(_) => self.fraction()?,
            None => 0,
        };
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        let time = jiff::civil::Time::new(hour, minute, second, nanosecond).ok()?;
        Some(date.to_datetime(time))
    }

    /// `Z`, or an offset, after which a `Z` may follow.
    fn offset(&mut self) -> Option<jiff::tz::Offset> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(jiff::tz::Offset::UTC),
        };
        let hours = self.two_digits().filter(|&hours| hours < 24)?;
        self.one_of(b":")?;
        let minutes = self.two_digits().filter(|&minutes| minutes < 60)?;
        // No RFC has this; every event of SoundHash's current dispatcher does.
        self.one_of(b"Z");
        let minutes = i32::from(hours) * 60 + i32::from(minutes);
        jiff::tz::Offset::from_seconds(sign * minutes * 60).ok()
    }

    /// At least one digit, as many as there are; in nanoseconds, the rest cut off.
    fn fraction(&mut self) -> Option<i32> {
        let length = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let digit = |index| i32::from(digits.get(index).map_or(0, |byte| byte - b'0'));
        (length > 0).then(|| (0..9).fold(0, |sum, index| sum * 10 + digit(index)))
    }

    fn two_digits(&mut self) -> Option<i8> {
        self.digits(2)?.try_into().ok()
    }

    /// Exactly `count` digits, at most four.
    fn digits(&mut self, count: usize) -> Option<i16> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(
            digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')),
        )
    }

    /// One byte, if it is among `set`.
    fn one_of(&mut self, set: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !set.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }
}

/// RFC 3339 in UTC, with `Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    /// # Errors
    ///
    /// If the time lies outside the years 0000 to 9999.
    fn try_from(time: SystemTime) -> Result<Self, TimestampError> {
        let instant = time.try_into().map_err(|_| TimestampError(Fault::Range))?;
        Timestamp::new(instant)
    }
}

/// Where the system's clock cannot show the instant (Windows, before 1601), the Unix epoch.
impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let since_epoch = timestamp.get().as_duration();
        let distance = since_epoch.unsigned_abs();
        // Not jiff's own conversion: it panics there.
        let time = match since_epoch.is_negative() {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Text is no timestamp, or a time lies outside the years 0000 to 9999.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError(Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Shape,
    Range,
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Fault::Shape => "not an RFC 3339 timestamp",
            Fault::Range => "timestamp outside the years 0000 to 9999",
        })
    }
}

impl std::error::Error for TimestampError {}

#[cfg(test)]
mod tests;
