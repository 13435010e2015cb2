//! What was found where.

use serde::{Deserialize, Serialize};

use super::Missing;
use crate::event::id::Id;

/// The payload of `match.found`: a query was found in other videos.
///
/// SoundHash's portal sends a list, its dispatcher one event per match with the match's fields
/// beside those of the query. Here both are a list, and written as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FoundWire")]
#[non_exhaustive]
pub struct MatchFound {
    /// What was searched for. Also read from `query_video_id`.
    pub query_id: Id,
    /// Where it was found.
    pub matches: Vec<Match>,
}

/// One place in one video, of a [`MatchFound`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MatchWire")]
#[non_exhaustive]
pub struct Match {
    /// The match itself. Only SoundHash's dispatcher names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_id: Option<Id>,
    /// The video in which the query was found. Also read from `matched_video_id`.
    pub video_id: Id,
    /// The title of that video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How sure SoundHash is, from 0 to 1.
    pub confidence: f64,
    /// Where the match begins, in seconds. Also read from `segment_start`.
    pub start_time: f64,
    /// Where the match ends, in seconds. Also read from `segment_end`.
    pub end_time: f64,
    /// How alike the two are, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_score: Option<f64>,
}

/// Every spelling of every field of a match.
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

/// A query with a list of matches, or with the fields of one. Not `serde(flatten)`, through which
/// a number is a map under `serde_json`'s `arbitrary_precision`.
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
