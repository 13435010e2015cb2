use serde::{Deserialize, Serialize};

use crate::event::Id;

/// `fingerprint.created`: one segment of a video has its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FingerprintCreated {
    /// The fingerprint's id.
    pub id: Id,
    /// The video that it is of.
    pub video_id: Id,
    /// Which segment of the video it is of, from 0.
    pub segment_index: u64,
    /// Where the segment begins, in seconds.
    pub start_time: f64,
    /// Where it ends, in seconds.
    pub end_time: f64,
    /// The fingerprint's hash.
    pub fingerprint_hash: String,
}

/// `channel.ingested`: all videos of a channel were taken in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelIngested {
    /// The channel's id at SoundHash.
    pub id: Id,
    /// Its id where it comes from.
    pub channel_id: Id,
    /// Its title.
    pub title: String,
    /// How many videos it has.
    pub video_count: u64,
    /// How many were taken in.
    pub ingested_videos: u64,
    /// How many could not be.
    pub failed_videos: u64,
    /// How long that took, in seconds.
    pub processing_time: f64,
}
