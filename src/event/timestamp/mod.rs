//! The [`Timestamp`], which is parsed from every format that SoundHash uses.
//!
//! - `serde`: conversions to and from JSON.
//! - `chrono`, `jiff`, `time`: conversions to and from those crates' types.

#[cfg(feature = "chrono")]
mod chrono;
#[cfg(feature = "jiff")]
mod jiff;
mod serde;
#[cfg(feature = "time")]
mod time;

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

pub(super) use self::serde::lenient;

/// An instant between the years 0000 and 9999 with nanosecond precision.
///
/// Parsing accepts RFC 3339 and everything else that [`jiff::Timestamp`](::jiff::Timestamp)
/// accepts. It also accepts timestamps from SoundHash's dispatcher, which have both an offset and a
/// `Z`, and ignores the `Z`. A leap second (`:60`) is parsed as `:59`. Timestamps are printed as
/// RFC 3339 in UTC, with fractional seconds only if they are not zero.
///
/// The last instant is 9999-12-30T22:00:00.999999999Z, so every timestamp can be displayed at any
/// offset.
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
pub struct Timestamp(::jiff::Timestamp);

/// 0000-01-01T00:00:00Z in seconds since the Unix epoch. RFC 3339 cannot represent earlier years.
const FIRST_SECOND: i64 = -62_167_219_200;

impl Timestamp {
    /// Creates a timestamp, or returns an error for a year that RFC 3339 cannot represent. Every
    /// constructor calls this function.
    fn new(instant: ::jiff::Timestamp) -> Result<Self, TimestampError> {
        // `as_second` rounds towards zero, which could move an earlier instant into the range.
        if instant.as_nanosecond() < i128::from(FIRST_SECOND) * 1_000_000_000 {
            return Err(TimestampError(Fault::Range));
        }
        Ok(Timestamp(instant))
    }

    fn get(self) -> ::jiff::Timestamp {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Parses the formats listed in the docs of [`Timestamp`].
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a timestamp with an offset or a `Z`, or if the timestamp
    /// is outside the years 0000 to 9999.
    fn from_str(s: &str) -> Result<Self, TimestampError> {
        let text = match s.as_bytes() {
            // SoundHash's current dispatcher appends a `Z` to the offset.
            [.., b'+' | b'-', _, _, b':', _, _, b'Z'] => s.trim_end_matches('Z'),
            _ => s,
        };
        let instant = text.parse().map_err(|_| TimestampError(Fault::Text))?;
        Timestamp::new(instant)
    }
}

/// Prints RFC 3339 in UTC, with `Z`.
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
    /// Returns an error if the time is outside the years 0000 to 9999.
    fn try_from(time: SystemTime) -> Result<Self, TimestampError> {
        let instant = time.try_into().map_err(|_| TimestampError(Fault::Range))?;
        Timestamp::new(instant)
    }
}

/// Converts the instant, or returns the Unix epoch if `SystemTime` cannot represent the instant,
/// for example one before 1601 on Windows.
impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let since_epoch = timestamp.get().as_duration();
        let distance = since_epoch.unsigned_abs();
        // jiff's own conversion would panic for an instant that `SystemTime` cannot represent.
        let time = match since_epoch.is_negative() {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// An error from parsing or converting a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError(Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Text,
    Range,
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Fault::Text => "not an RFC 3339 timestamp in the years 0000 to 9999",
            Fault::Range => "timestamp outside the years 0000 to 9999",
        })
    }
}

impl std::error::Error for TimestampError {}
