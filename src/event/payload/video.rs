//! Events about a video.

use serde::{Deserialize, Serialize};

use super::Missing;
use crate::event::id::Id;
use crate::event::timestamp::{Timestamp, lenient};

/// The payload of `video.uploaded`: a video was taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoUploaded {
    /// The video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// Where the video is from.
    pub url: String,
    /// How long the video is, in seconds; 0 while that is not known.
    pub duration: f64,
    /// The state of the video: `uploaded`.
    pub status: String,
    /// When it was taken in.
    #[serde(
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub uploaded_at: Option<Timestamp>,
}

/// The payload of `video.processing`: work on a video has begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoProcessing {
    /// The video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// Where the video is from.
    pub url: String,
    /// How long the video is, in seconds.
    pub duration: f64,
    /// The state of the video: `processing`.
    pub status: String,
    /// The job that does the work.
    pub job_id: Id,
}

/// The payload of `video.failed`: a video could not be processed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoFailed {
    /// The video.
    pub id: Id,
    /// The video's title.
    pub title: String,
    /// Where the video is from.
    pub url: String,
    /// The state of the video: `failed`.
    pub status: String,
    /// What went wrong, for humans.
    pub error: String,
    /// What went wrong, for programs, such as `DOWNLOAD_ERROR`.
    pub error_code: String,
}

/// The payload of `video.processed`: a video has its fingerprints.
///
/// SoundHash has four spellings of this one, and no field is common to all of them. There is
/// always a [`video_id`](Self::video_id) or a [`title`](Self::title).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ProcessedWire")]
#[non_exhaustive]
pub struct VideoProcessed {
    /// The video. Also read from `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_id: Option<Id>,
    /// Where the video is from. Also read from `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_url: Option<String>,
    /// How many fingerprints the video has, where the sender says so. Also read from
    /// `fingerprints_count`; never counted from [`fingerprints`](Self::fingerprints).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint_count: Option<u64>,
    /// The video's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How long the video is, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// How long the work took, in seconds. Also read from `processing_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_time_seconds: Option<f64>,
    /// The state of the video: `processed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The fingerprints themselves, where the sender lists them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
}

/// A fingerprint in the list of a [`VideoProcessed`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fingerprint {
    /// The fingerprint.
    pub id: Id,
    /// Which segment of the video it is of, the first one being 0.
    pub segment_index: u64,
    /// Where the segment begins, in seconds from the video's beginning.
    pub start_time: f64,
    /// Where the segment ends, in seconds from the video's beginning.
    pub end_time: f64,
}

/// Every spelling of every field. Not `serde(alias)`, which refuses two of them at once.
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
        // With neither, this would be any object at all, such as that of the test button.
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
