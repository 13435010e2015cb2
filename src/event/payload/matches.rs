use serde::{Deserialize, Serialize};

use super::Missing;
use crate::event::Id;

/// `match.found`: something that was looked for was found.
///
/// The portal lists several matches; the dispatcher sends one event for each, which is a list
/// of one here. It is always written as a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MatchFoundFields")]
#[non_exhaustive]
pub struct MatchFound {
    /// What was looked for: the portal's `query_id`, which is a query's, or the dispatcher's
    /// `query_video_id`, which is a video's.
    pub query_id: Id,
    /// What was found.
    pub matches: Vec<Match>,
}

/// A match of a [`MatchFound`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MatchFields")]
#[non_exhaustive]
pub struct Match {
    /// The match's id; only the dispatcher says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_id: Option<Id>,
    /// The video that was found: the dispatcher's `matched_video_id`.
    pub video_id: Id,
    /// The title of that video; only the portal says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How certain it is, from 0 to 1.
    pub confidence: f64,
    /// Where the match begins, in seconds: the dispatcher's `segment_start`.
    pub start_time: f64,
    /// Where it ends, in seconds: the dispatcher's `segment_end`.
    pub end_time: f64,
    /// How similar it is, from 0 to 1; only the portal says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_score: Option<f64>,
}

#[derive(Deserialize)]
struct MatchFields {
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

impl TryFrom<MatchFields> for Match {
    type Error = Missing;

    fn try_from(fields: MatchFields) -> Result<Self, Self::Error> {
        Ok(Self {
            match_id: fields.match_id,
            video_id: fields
                .video_id
                .or(fields.matched_video_id)
                .ok_or(Missing("video_id"))?,
            title: fields.title,
            confidence: fields.confidence.ok_or(Missing("confidence"))?,
            start_time: fields
                .start_time
                .or(fields.segment_start)
                .ok_or(Missing("start_time"))?,
            end_time: fields
                .end_time
                .or(fields.segment_end)
                .ok_or(Missing("end_time"))?,
            similarity_score: fields.similarity_score,
        })
    }
}

/// The portal's payload and the dispatcher's, which is itself the one match.
#[derive(Deserialize)]
struct MatchFoundFields {
    query_id: Option<Id>,
    matches: Option<Vec<Match>>,
    query_video_id: Option<Id>,
    match_id: Option<Id>,
    matched_video_id: Option<Id>,
    confidence: Option<f64>,
    segment_start: Option<f64>,
    segment_end: Option<f64>,
}

impl TryFrom<MatchFoundFields> for MatchFound {
    type Error = Missing;

    fn try_from(fields: MatchFoundFields) -> Result<Self, Self::Error> {
        let matches = match (fields.matches, fields.matched_video_id) {
            (Some(matches), None) => matches,
            (Some(matches), Some(_)) if !matches.is_empty() => matches,
            (_, Some(video_id)) => vec![Match {
                match_id: fields.match_id,
                video_id,
                title: None,
                confidence: fields.confidence.ok_or(Missing("confidence"))?,
                start_time: fields.segment_start.ok_or(Missing("segment_start"))?,
                end_time: fields.segment_end.ok_or(Missing("segment_end"))?,
                similarity_score: None,
            }],
            (None, None) => return Err(Missing("matches")),
        };
        Ok(Self {
            query_id: fields
                .query_id
                .or(fields.query_video_id)
                .ok_or(Missing("query_id"))?,
            matches,
        })
    }
}
