use std::{error, fmt, str::FromStr};

macro_rules! kinds {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// The event types that this version knows.
        ///
        /// ```
        /// use soundhash_webhook::EventKind;
        ///
        /// assert_eq!("match.found".parse(), Ok(EventKind::MatchFound));
        /// assert_eq!(EventKind::MatchFound.as_str(), "match.found");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])+ $variant,)+
        }

        impl EventKind {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The type as SoundHash writes it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl FromStr for EventKind {
            type Err = UnknownEventKind;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownEventKind(())),
                }
            }
        }
    };
}

kinds! {
    /// `video.uploaded`
    VideoUploaded = "video.uploaded",
    /// `video.processing`
    VideoProcessing = "video.processing",
    /// `video.processed`
    VideoProcessed = "video.processed",
    /// `video.failed`
    VideoFailed = "video.failed",
    /// `match.found`
    MatchFound = "match.found",
    /// `fingerprint.created`
    FingerprintCreated = "fingerprint.created",
    /// `channel.ingested`
    ChannelIngested = "channel.ingested",
    /// `quota.warning`
    QuotaWarning = "quota.warning",
    /// `job.failed`
    JobFailed = "job.failed",
    /// `user.created`
    UserCreated = "user.created",
    /// `subscription.updated`
    SubscriptionUpdated = "subscription.updated",
    /// `api_limit.reached`
    ApiLimitReached = "api_limit.reached",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name is not that of an [`EventKind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEventKind(());

impl fmt::Display for UnknownEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown event type")
    }
}

impl error::Error for UnknownEventKind {}
