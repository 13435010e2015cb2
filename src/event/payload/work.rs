//! Events about work that goes on in the background.

use serde::{Deserialize, Serialize};

use crate::event::id::Id;

/// The payload of `fingerprint.created`: one segment of a video has its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FingerprintCreated {
    /// The fingerprint.
    pub id: Id,
    /// The video that it was made from.
    pub video_id: Id,
    /// Which segment of the video it is of, the first one being 0.
    pub segment_index: u64,
    /// Where the segment begins, in seconds from the video's beginning.
    pub start_time: f64,
    /// Where the segment ends, in seconds from the video's beginning.
    pub end_time: f64,
    /// The fingerprint's hash, in SoundHash's own notation.
    pub fingerprint_hash: String,
}

/// The payload of `channel.ingested`: all videos of a channel were taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelIngested {
    /// The channel, as SoundHash counts it.
    pub id: Id,
    /// The channel, as its platform names it.
    pub channel_id: Id,
    /// The channel's title.
    pub title: String,
    /// How many videos the channel has.
    pub video_count: u64,
    /// How many of them were taken in.
    pub ingested_videos: u64,
    /// How many of them could not be.
    pub failed_videos: u64,
    /// How long that took, in seconds.
    pub processing_time: f64,
}

/// The payload of `job.failed`: a background job gave up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailed {
    /// The job.
    pub job_id: Id,
    /// What the job was to do, such as `video_process`.
    pub job_type: String,
    /// What it was to do that to.
    pub target_id: Id,
    /// How many times it was tried.
    pub attempt_count: u64,
    /// Why the last attempt failed, for humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}
