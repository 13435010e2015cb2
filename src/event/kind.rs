//! The types of events that SoundHash documents.

use std::fmt;
use std::str::FromStr;

/// The type of an event, of those that SoundHash is known to send.
///
/// ```
/// use soundhash_webhook::EventKind;
///
/// let kind: EventKind = "match.found".parse()?;
/// assert_eq!(kind, EventKind::MatchFound);
/// assert_eq!(kind.as_str(), "match.found");
/// # Ok::<(), soundhash_webhook::UnknownEventKind>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// `video.uploaded`: a video was taken in.
    VideoUploaded,
    /// `video.processing`: work on a video has begun.
    VideoProcessing,
    /// `video.processed`: a video has its fingerprints.
    VideoProcessed,
    /// `video.failed`: a video could not be processed.
    VideoFailed,
    /// `match.found`: a query was found in other videos.
    MatchFound,
    /// `fingerprint.created`: one segment of a video has its fingerprint.
    FingerprintCreated,
    /// `channel.ingested`: all videos of a channel were taken in.
    ChannelIngested,
    /// `quota.warning`: a quota is nearly used up.
    QuotaWarning,
    /// `job.failed`: a background job gave up.
    JobFailed,
    /// `user.created`: an account was opened.
    UserCreated,
    /// `subscription.updated`: a plan changed.
    SubscriptionUpdated,
    /// `api_limit.reached`: a limit of the API was reached.
    ApiLimitReached,
}

impl EventKind {
    /// Every kind that this version of the crate knows.
    pub const ALL: &'static [EventKind] = &[
        EventKind::VideoUploaded,
        EventKind::VideoProcessing,
        EventKind::VideoProcessed,
        EventKind::VideoFailed,
        EventKind::MatchFound,
        EventKind::FingerprintCreated,
        EventKind::ChannelIngested,
        EventKind::QuotaWarning,
        EventKind::JobFailed,
        EventKind::UserCreated,
        EventKind::SubscriptionUpdated,
        EventKind::ApiLimitReached,
    ];

    /// The type as it stands in an event, such as `video.uploaded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::VideoUploaded => "video.uploaded",
            EventKind::VideoProcessing => "video.processing",
            EventKind::VideoProcessed => "video.processed",
            EventKind::VideoFailed => "video.failed",
            EventKind::MatchFound => "match.found",
            EventKind::FingerprintCreated => "fingerprint.created",
            EventKind::ChannelIngested => "channel.ingested",
            EventKind::QuotaWarning => "quota.warning",
            EventKind::JobFailed => "job.failed",
            EventKind::UserCreated => "user.created",
            EventKind::SubscriptionUpdated => "subscription.updated",
            EventKind::ApiLimitReached => "api_limit.reached",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownEventKind;

    /// Reads the type exactly as SoundHash writes it: no other case, no white space.
    ///
    /// # Errors
    ///
    /// If this version of the crate does not know the type.
    fn from_str(s: &str) -> Result<Self, UnknownEventKind> {
        let mut all = EventKind::ALL.iter().copied();
        all.find(|kind| kind.as_str() == s)
            .ok_or(UnknownEventKind(()))
    }
}

/// A string is no [`EventKind`] that this version of the crate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEventKind(());

impl fmt::Display for UnknownEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown event type")
    }
}

impl std::error::Error for UnknownEventKind {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_what_it_prints() {
        for &kind in EventKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!(
            EventKind::ALL.len(),
            EventKind::ApiLimitReached as usize + 1
        );
    }

    #[test]
    fn anything_else_is_unknown() {
        for other in [
            "",
            "made.up",
            "Match.Found",
            " match.found",
            "match.found\n",
        ] {
            assert_eq!(other.parse::<EventKind>(), Err(UnknownEventKind(())));
        }
        assert_eq!(UnknownEventKind(()).to_string(), "unknown event type");
    }
}
