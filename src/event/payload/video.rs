use serde::{Deserialize, Serialize};

use super::Missing;
use crate::event::{Id, Timestamp, timestamp};

/// `video.uploaded`: a video is there, and waits to be processed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoUploaded {
    /// The video's id.
    pub id: Id,
    /// Its title.
    pub title: String,
    /// Where it comes from.
    pub url: String,
    /// How long it is, in seconds; 0 where that is not known yet.
    pub duration: f64,
    /// Its state.
    pub status: String,
    /// When it was uploaded.
    #[serde(
        default,
        deserialize_with = "timestamp::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub uploaded_at: Option<Timestamp>,
}

/// `video.processing`: a video is being processed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoProcessing {
    /// The video's id.
    pub id: Id,
    /// Its title.
    pub title: String,
    /// Where it comes from.
    pub url: String,
    /// How long it is, in seconds.
    pub duration: f64,
    /// Its state.
    pub status: String,
    /// The job that processes it.
    pub job_id: Id,
}

/// `video.processed`: a video's fingerprints are there.
///
/// Its senders and its documentation have four spellings of it, which have no field in
/// common. At least one of `video_id` and `title` is always there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "VideoProcessedFields")]
#[non_exhaustive]
pub struct VideoProcessed {
    /// The video's id: the dispatcher's `video_id`, the portal's `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_id: Option<Id>,
    /// Where it comes from: the dispatcher's `video_url`, the portal's `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_url: Option<String>,
    /// How many fingerprints it has: also `fingerprints_count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint_count: Option<u64>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How long it is, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// How long that took, in seconds: the dispatcher's `processing_time_seconds`, the
    /// portal's `processing_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_time_seconds: Option<f64>,
    /// Its state; only the portal says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The fingerprints; only the portal lists them, and not always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
}

/// A fingerprint of a [`VideoProcessed`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fingerprint {
    /// The fingerprint's id.
    pub id: Id,
    /// Which segment of the video it is of, from 0.
    pub segment_index: u64,
    /// Where the segment begins, in seconds.
    pub start_time: f64,
    /// Where it ends, in seconds.
    pub end_time: f64,
}

#[derive(Deserialize)]
struct VideoProcessedFields {
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

impl TryFrom<VideoProcessedFields> for VideoProcessed {
    type Error = Missing;

    fn try_from(fields: VideoProcessedFields) -> Result<Self, Self::Error> {
        let video_id = fields.video_id.or(fields.id);
        // An object with neither is something else, a test for instance.
        if video_id.is_none() && fields.title.is_none() {
            return Err(Missing("video_id"));
        }
        Ok(Self {
            video_id,
            video_url: fields.video_url.or(fields.url),
            fingerprint_count: fields.fingerprint_count.or(fields.fingerprints_count),
            title: fields.title,
            duration: fields.duration,
            processing_time_seconds: fields.processing_time_seconds.or(fields.processing_time),
            status: fields.status,
            fingerprints: fields.fingerprints.unwrap_or_default(),
        })
    }
}

/// `video.failed`: a video could not be processed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoFailed {
    /// The video's id.
    pub id: Id,
    /// Its title.
    pub title: String,
    /// Where it comes from.
    pub url: String,
    /// Its state.
    pub status: String,
    /// What went wrong, for people.
    pub error: String,
    /// What went wrong, for programs.
    pub error_code: String,
}
