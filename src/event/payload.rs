//! One struct per event type.
//!
//! Each field serializes under its Rust name. If SoundHash's two senders use different names for a
//! field, this is the dispatcher's name, and the other names are accepted when parsing. A field
//! that is not guaranteed by every sender is an `Option`, and `null` means the same as a missing
//! field. SoundHash's dispatcher also omits values that are zero or empty.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::timestamp::{Timestamp, lenient};

/// The error for a payload that lacks a required field under any of its names.
///
/// Its message is the same as that of serde's derived implementations.
#[derive(Debug)]
struct Missing(&'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing field `{}`", self.0)
    }
}

/// The payload of `video.uploaded`: a video was added to SoundHash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoUploaded {
    /// The id of the video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// The URL of the video's source.
    pub url: String,
    /// The length of the video in seconds, or 0 if it is not known yet.
    pub duration: f64,
    /// The state of the video: `uploaded`.
    pub status: String,
    /// The time at which the video was added.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub uploaded_at: Option<Timestamp>,
}

/// The payload of `video.processing`: SoundHash started processing a video.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoProcessing {
    /// The id of the video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// The URL of the video's source.
    pub url: String,
    /// The length of the video in seconds.
    pub duration: f64,
    /// The state of the video: `processing`.
    pub status: String,
    /// The id of the job that processes the video.
    pub job_id: Id,
}

/// The payload of `video.failed`: a video could not be processed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoFailed {
    /// The id of the video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// The URL of the video's source.
    pub url: String,
    /// The state of the video: `failed`.
    pub status: String,
    /// A description of the error.
    pub error: String,
    /// The error code, such as `DOWNLOAD_ERROR`.
    pub error_code: String,
}

/// The payload of `video.processed`: a video was processed and now has fingerprints.
///
/// SoundHash has four naming schemes for this payload, and no field is common to all of them. At
/// least one of [`video_id`](Self::video_id) and [`title`](Self::title) is always present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ProcessedWire")]
#[non_exhaustive]
pub struct VideoProcessed {
    /// The id of the video. Also read from `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_id: Option<Id>,
    /// The URL of the video's source. Also read from `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_url: Option<String>,
    /// The number of fingerprints, as reported by the sender. Also read from `fingerprints_count`,
    /// but never computed from [`fingerprints`](Self::fingerprints).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint_count: Option<u64>,
    /// The video's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The length of the video in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The processing time in seconds. Also read from `processing_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_time_seconds: Option<f64>,
    /// The state of the video: `processed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The fingerprints, if the sender lists them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
}

/// A fingerprint listed in a [`VideoProcessed`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fingerprint {
    /// The id of the fingerprint.
    pub id: Id,
    /// The index of the fingerprinted segment, starting at 0.
    pub segment_index: u64,
    /// The start of the segment, in seconds from the start of the video.
    pub start_time: f64,
    /// The end of the segment, in seconds from the start of the video.
    pub end_time: f64,
}

/// Contains each field once for each of its names. `serde(alias)` would reject a payload that has a
/// field under two names.
#[derive(Deserialize)]
struct ProcessedWire {
    video_id: Option<Id>,
    id: Option<Id>,
    video_url: Option<String>,
    url: Option<String>,
    fingerprint_count: Option<u64>,
    fingerprints_count: Option<u64>,
    title: Option<String>,
    duration: Option<f64>,
    processing_time_seconds: Option<f64>,
    processing_time: Option<f64>,
    status: Option<String>,
    fingerprints: Option<Vec<Fingerprint>>,
}

impl TryFrom<ProcessedWire> for VideoProcessed {
    type Error = Missing;

    fn try_from(wire: ProcessedWire) -> Result<Self, Missing> {
        let video_id = wire.video_id.or(wire.id);
        // Without this check, any object would be accepted, even an arbitrary one from the test
        // button.
        if video_id.is_none() && wire.title.is_none() {
            return Err(Missing("video_id"));
        }
        Ok(VideoProcessed {
            video_id,
            video_url: wire.video_url.or(wire.url),
            fingerprint_count: wire.fingerprint_count.or(wire.fingerprints_count),
            title: wire.title,
            duration: wire.duration,
            processing_time_seconds: wire.processing_time_seconds.or(wire.processing_time),
            status: wire.status,
            fingerprints: wire.fingerprints.unwrap_or_default(),
        })
    }
}

/// The payload of `match.found`: a query was found in other videos.
///
/// SoundHash's portal sends a list of matches. Its dispatcher sends one event per match, with the
/// fields of both the query and the match. Both forms are parsed into a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FoundWire")]
#[non_exhaustive]
pub struct MatchFound {
    /// The id of the query. Also read from `query_video_id`.
    pub query_id: Id,
    /// The places where the query was found.
    pub matches: Vec<Match>,
}

/// A place in a video where the query of a [`MatchFound`] was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MatchWire")]
#[non_exhaustive]
pub struct Match {
    /// The id of the match. Only SoundHash's dispatcher sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_id: Option<Id>,
    /// The id of the video in which the query was found. Also read from `matched_video_id`.
    pub video_id: Id,
    /// The title of the video in which the query was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The confidence of the match, from 0 to 1.
    pub confidence: f64,
    /// The start of the match in seconds. Also read from `segment_start`.
    pub start_time: f64,
    /// The end of the match in seconds. Also read from `segment_end`.
    pub end_time: f64,
    /// The similarity between the query and the match, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_score: Option<f64>,
}

/// Contains each field of a match once for each of its names.
#[derive(Deserialize)]
struct MatchWire {
    match_id: Option<Id>,
    video_id: Option<Id>,
    matched_video_id: Option<Id>,
    title: Option<String>,
    confidence: Option<f64>,
    start_time: Option<f64>,
    segment_start: Option<f64>,
    end_time: Option<f64>,
    segment_end: Option<f64>,
    similarity_score: Option<f64>,
}

impl TryFrom<MatchWire> for Match {
    type Error = Missing;

    fn try_from(wire: MatchWire) -> Result<Self, Missing> {
        Ok(Match {
            match_id: wire.match_id,
            video_id: wire
                .video_id
                .or(wire.matched_video_id)
                .ok_or(Missing("video_id"))?,
            title: wire.title,
            confidence: wire.confidence.ok_or(Missing("confidence"))?,
            start_time: wire
                .start_time
                .or(wire.segment_start)
                .ok_or(Missing("start_time"))?,
            end_time: wire
                .end_time
                .or(wire.segment_end)
                .ok_or(Missing("end_time"))?,
            similarity_score: wire.similarity_score,
        })
    }
}

/// A query with a list of matches, or with the fields of a single match.
///
/// `serde(flatten)` cannot be used here, because it fails for numbers if `serde_json`'s
/// `arbitrary_precision` feature is enabled.
#[derive(Deserialize)]
struct FoundWire {
    query_id: Option<Id>,
    query_video_id: Option<Id>,
    matches: Option<Vec<Match>>,
    match_id: Option<Id>,
    matched_video_id: Option<Id>,
    confidence: Option<f64>,
    segment_start: Option<f64>,
    segment_end: Option<f64>,
}

impl TryFrom<FoundWire> for MatchFound {
    type Error = Missing;

    fn try_from(wire: FoundWire) -> Result<Self, Missing> {
        let query_id = wire
            .query_id
            .or(wire.query_video_id)
            .ok_or(Missing("query_id"))?;
        let matches = match (wire.matches, wire.matched_video_id) {
            (Some(matches), _) if !matches.is_empty() => matches,
            (_, Some(video_id)) => vec![Match {
                match_id: wire.match_id,
                video_id,
                title: None,
                confidence: wire.confidence.ok_or(Missing("confidence"))?,
                start_time: wire.segment_start.ok_or(Missing("segment_start"))?,
                end_time: wire.segment_end.ok_or(Missing("segment_end"))?,
                similarity_score: None,
            }],
            (Some(empty), None) => empty,
            (None, None) => return Err(Missing("matches")),
        };
        Ok(MatchFound { query_id, matches })
    }
}

/// The payload of `fingerprint.created`: a segment of a video was fingerprinted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FingerprintCreated {
    /// The id of the fingerprint.
    pub id: Id,
    /// The id of the fingerprinted video.
    pub video_id: Id,
    /// The index of the fingerprinted segment, starting at 0.
    pub segment_index: u64,
    /// The start of the segment, in seconds from the start of the video.
    pub start_time: f64,
    /// The end of the segment, in seconds from the start of the video.
    pub end_time: f64,
    /// The fingerprint's hash, in SoundHash's notation.
    pub fingerprint_hash: String,
}

/// The payload of `channel.ingested`: a channel's videos were ingested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelIngested {
    /// SoundHash's id for the channel.
    pub id: Id,
    /// The platform's id for the channel.
    pub channel_id: Id,
    /// The channel's title.
    pub title: String,
    /// The number of videos in the channel.
    pub video_count: u64,
    /// The number of videos that were ingested.
    pub ingested_videos: u64,
    /// The number of videos that could not be ingested.
    pub failed_videos: u64,
    /// The processing time in seconds.
    pub processing_time: f64,
}

/// The payload of `job.failed`: a background job failed permanently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailed {
    /// The id of the job.
    pub job_id: Id,
    /// The type of the job, such as `video_process`.
    pub job_type: String,
    /// The id of the object that the job was working on.
    pub target_id: Id,
    /// The number of attempts.
    pub attempt_count: u64,
    /// A description of the last attempt's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// The payload of `quota.warning`: a quota is almost used up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaWarning {
    /// The period that the quota applies to, such as `daily`.
    pub period: String,
    /// The amount used so far.
    pub used: i64,
    /// The quota.
    pub limit: i64,
    /// The remaining amount of the quota, which is negative if the quota is exceeded.
    pub remaining: i64,
    /// The used amount as a percentage of the quota.
    pub percentage: f64,
    /// The end of the period.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}

/// The payload of `user.created`: an account was created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserCreated {
    /// The id of the account.
    pub user_id: Id,
    /// The user's name.
    pub username: String,
    /// The user's e-mail address.
    pub email: String,
}

/// The payload of `subscription.updated`: a subscription's plan changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionUpdated {
    /// The id of the subscription.
    pub subscription_id: Id,
    /// The id of the account that has the subscription.
    pub user_id: Id,
    /// The new plan, such as `pro`.
    pub plan_tier: String,
    /// The state of the subscription, such as `active`.
    pub status: String,
    /// The previous plan, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_plan: Option<String>,
}

/// The payload of `api_limit.reached`: an API limit was reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiLimitReached {
    /// The id of the account.
    pub user_id: Id,
    /// The kind of limit, such as `api_calls` or `storage`.
    pub limit_type: String,
    /// The current usage, in the unit of the limit.
    pub current_usage: i64,
    /// The limit.
    pub limit_value: i64,
    /// The time at which the usage resets, if it ever does.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub reset_at: Option<Timestamp>,
}
