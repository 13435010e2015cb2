//! The list of event types, from which the enum [`EventKind`] is generated.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Passes every event type that SoundHash documents to the macro `$then`.
///
/// Each line contains the name of the payload struct, the type as SoundHash writes it, and a
/// sentence that says what happened. The variants of [`EventKind`] and
/// [`EventData`](crate::EventData) are named after the struct. `samples/<type>.json` contains a
/// sample payload.
macro_rules! event_types {
    ($then:ident) => {
        $then! {
            VideoUploaded = "video.uploaded", "A video was added to SoundHash.";
            VideoProcessing = "video.processing", "SoundHash started to process a video.";
            VideoProcessed = "video.processed", "A video was processed and has its fingerprints.";
            VideoFailed = "video.failed", "A video could not be processed.";
            MatchFound = "match.found", "A query was found in other videos.";
            FingerprintCreated = "fingerprint.created", "A segment of a video was fingerprinted.";
            ChannelIngested = "channel.ingested", "The videos of a channel were ingested.";
            QuotaWarning = "quota.warning", "A quota is nearly used up.";
            JobFailed = "job.failed", "A background job failed for good.";
            UserCreated = "user.created", "An account was created.";
            SubscriptionUpdated = "subscription.updated", "The plan of a subscription changed.";
            ApiLimitReached = "api_limit.reached", "A limit of the API was reached.";
        }
    };
}
pub(crate) use event_types;

macro_rules! define_kinds {
    ($($Kind:ident = $name:literal, $sentence:literal;)*) => {
        /// An event type that SoundHash documents.
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
            $(
                #[doc = concat!("`", $name, "`: ", $sentence)]
                $Kind,
            )*
        }

        impl EventKind {
            /// All kinds known to this version of the crate.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$Kind),*];

            /// Returns the type as SoundHash writes it, such as `video.uploaded`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$Kind => $name,)*
                }
            }
        }

        impl FromStr for EventKind {
            type Err = UnknownEventKind;

            /// Parses the type exactly as SoundHash writes it, including case and whitespace.
            ///
            /// # Errors
            ///
            /// Returns an error if the type is unknown to this version of the crate.
            fn from_str(s: &str) -> Result<Self, UnknownEventKind> {
                match s {
                    $($name => Ok(EventKind::$Kind),)*
                    _ => Err(UnknownEventKind(())),
                }
            }
        }
    };
}

event_types!(define_kinds);

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The type of an event as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EventType {
    Known(EventKind),
    Unknown(String),
}

impl EventType {
    /// Returns the type if this version of the crate knows it.
    pub(crate) fn known(&self) -> Option<EventKind> {
        match self {
            EventType::Known(kind) => Some(*kind),
            EventType::Unknown(_) => None,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            EventType::Known(kind) => kind.as_str(),
            EventType::Unknown(name) => name,
        }
    }
}

impl From<Cow<'_, str>> for EventType {
    fn from(name: Cow<'_, str>) -> Self {
        match name.parse() {
            Ok(kind) => EventType::Known(kind),
            Err(_) => EventType::Unknown(name.into_owned()),
        }
    }
}

/// The error for an event type that is unknown to this version of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEventKind(());

impl fmt::Display for UnknownEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown event type")
    }
}

impl std::error::Error for UnknownEventKind {}
