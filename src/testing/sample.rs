use std::{error, fmt, io, str::FromStr};

use serde::Serialize;
use serde_json::{
    Serializer, Value, json,
    ser::{Formatter, PrettyFormatter},
};

use crate::event::EventKind;

/// SoundHash's two senders, each with an envelope of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// The developer portal's: `event`, `timestamp`, `webhook_id`, `delivery_id`.
    Portal,
    /// The dispatcher's: `id`, `type`, `created_at`, `resource_id`, `resource_type`.
    Dispatcher,
}

impl Envelope {
    /// `event` as that sender lays it out: the portal indents by two spaces, the dispatcher
    /// writes one line with a space behind each comma and colon.
    #[must_use]
    pub fn to_bytes(self, event: &Value) -> Vec<u8> {
        match self {
            Self::Portal => layout(event, PrettyFormatter::new()),
            Self::Dispatcher => layout(event, Spaced),
        }
    }
}

fn layout(event: &Value, formatter: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    event
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .expect("a `Value` is JSON");
    bytes
}

/// The separators that Python's `json.dumps` writes.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W>(&mut self, writer: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W>(&mut self, writer: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W>(&mut self, writer: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        writer.write_all(b": ")
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portal => "portal",
            Self::Dispatcher => "dispatcher",
        })
    }
}

impl FromStr for Envelope {
    type Err = UnknownEnvelope;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "portal" => Ok(Self::Portal),
            "dispatcher" => Ok(Self::Dispatcher),
            _ => Err(UnknownEnvelope(())),
        }
    }
}

/// The name is not that of an [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEnvelope(());

impl fmt::Display for UnknownEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("envelope is neither `portal` nor `dispatcher`")
    }
}

impl error::Error for UnknownEnvelope {}

/// A whole event as that sender writes it. What a sender does not send itself is the other
/// one's payload in its envelope.
///
/// The same arguments give the same event, with the same id; change what a test is about.
///
/// ```
/// use soundhash_webhook::{EventKind, testing::{Envelope, sample}};
///
/// let mut event = sample(EventKind::VideoProcessed, Envelope::Dispatcher);
/// event["data"]["title"] = "Another Title".into();
/// ```
#[must_use]
pub fn sample(kind: EventKind, envelope: Envelope) -> Value {
    match envelope {
        Envelope::Portal => {
            let mut data = portal(kind).unwrap_or_else(|| dispatcher(kind).2);
            // The portal adds these to every payload.
            data["uploaded_at"] = json!("2026-11-23T08:55:32.107946+00:00");
            data["reset_at"] = json!("2026-11-24T00:00:00.107979+00:00");
            json!({
                "event": kind.as_str(),
                "timestamp": "2026-11-23T08:55:32.108009+00:00",
                "webhook_id": "wh_sample",
                "delivery_id": format!("del_{kind}"),
                "data": data,
            })
        }
        Envelope::Dispatcher => {
            let (resource_id, resource_type, data) = dispatcher(kind);
            json!({
                "id": format!("sample-{kind}"),
                "type": kind.as_str(),
                "created_at": "2026-11-23T08:56:12.683837+00:00Z",
                "data": data,
                "resource_id": resource_id,
                "resource_type": resource_type,
            })
        }
    }
}

/// The portal's payload; `None` for what only the dispatcher sends.
fn portal(kind: EventKind) -> Option<Value> {
    let video = |status: &str, more: Value| {
        let mut video = json!({
            "id": 123,
            "title": "Test Video",
            "url": "https://youtube.com/watch?v=test123",
            "status": status,
        });
        if let (Value::Object(video), Value::Object(more)) = (&mut video, more) {
            video.extend(more);
        }
        video
    };
    let segment = |id: u64, index: u64| {
        let start = index * 90;
        json!({"id": id, "segment_index": index, "start_time": start, "end_time": start + 90})
    };
    Some(match kind {
        EventKind::VideoUploaded => video("uploaded", json!({"duration": 0})),
        EventKind::VideoProcessing => video(
            "processing",
            json!({"duration": 180, "job_id": "job_abc123"}),
        ),
        EventKind::VideoProcessed => video(
            "processed",
            json!({
                "duration": 180,
                "fingerprints": [segment(456, 0), segment(457, 1)],
                "processing_time": 45.2,
            }),
        ),
        EventKind::VideoFailed => video(
            "failed",
            json!({"error": "Failed to download video", "error_code": "DOWNLOAD_ERROR"}),
        ),
        EventKind::MatchFound => json!({
            "query_id": "q_test123",
            "matches": [
                {
                    "video_id": 123,
                    "title": "Matched Video",
                    "confidence": 0.95,
                    "start_time": 45,
                    "end_time": 60,
                    "similarity_score": 0.94,
                },
                {
                    "video_id": 124,
                    "title": "Another Match",
                    "confidence": 0.87,
                    "start_time": 10,
                    "end_time": 25,
                    "similarity_score": 0.85,
                },
            ],
        }),
        EventKind::FingerprintCreated => json!({
            "id": 456,
            "video_id": 123,
            "segment_index": 0,
            "start_time": 0,
            "end_time": 90,
            "fingerprint_hash": "abc123def456",
        }),
        EventKind::ChannelIngested => json!({
            "id": 789,
            "channel_id": "UCtest123",
            "title": "Test Channel",
            "video_count": 150,
            "ingested_videos": 150,
            "failed_videos": 0,
            "processing_time": 1200.5,
        }),
        EventKind::QuotaWarning => json!({
            "period": "daily",
            "used": 8500,
            "limit": 10000,
            "remaining": 1500,
            "percentage": 85.0,
        }),
        EventKind::JobFailed
        | EventKind::UserCreated
        | EventKind::SubscriptionUpdated
        | EventKind::ApiLimitReached => return None,
    })
}

/// The dispatcher's resource id and type, and its payload.
fn dispatcher(kind: EventKind) -> (&'static str, &'static str, Value) {
    match kind {
        EventKind::MatchFound => (
            "123",
            "match",
            json!({
                "match_id": 123,
                "query_video_id": "abc123",
                "matched_video_id": "xyz789",
                "confidence": 0.95,
                "segment_start": 30.5,
                "segment_end": 45.2,
            }),
        ),
        EventKind::VideoProcessed => (
            "456",
            "video",
            json!({
                "video_id": 456,
                "video_url": "https://youtube.com/watch?v=abc123",
                "fingerprint_count": 36,
                "title": "Test Video",
                "duration": 180.5,
                "processing_time_seconds": 12.3,
            }),
        ),
        EventKind::JobFailed => (
            "789",
            "job",
            json!({
                "job_id": 789,
                "job_type": "video_process",
                "target_id": "abc123",
                "attempt_count": 3,
                "error_message": "Download failed: Connection timeout",
            }),
        ),
        EventKind::UserCreated => (
            "42",
            "user",
            json!({"user_id": 42, "username": "newuser", "email": "user@example.com"}),
        ),
        EventKind::SubscriptionUpdated => (
            "123",
            "subscription",
            json!({
                "subscription_id": 123,
                "user_id": 42,
                "plan_tier": "pro",
                "status": "active",
                "previous_plan": "free",
            }),
        ),
        EventKind::ApiLimitReached => (
            "42",
            "user",
            json!({
                "user_id": 42,
                "limit_type": "api_calls",
                "current_usage": 9500,
                "limit_value": 10000,
                "reset_at": "2026-12-01T00:00:00Z",
            }),
        ),
        EventKind::VideoUploaded | EventKind::VideoProcessing | EventKind::VideoFailed => {
            ("123", "video", portal_payload(kind))
        }
        EventKind::FingerprintCreated => ("456", "fingerprint", portal_payload(kind)),
        EventKind::ChannelIngested => ("789", "channel", portal_payload(kind)),
        EventKind::QuotaWarning => {
            let mut data = portal_payload(kind);
            data["reset_at"] = json!("2026-11-24T00:00:00Z");
            ("42", "user", data)
        }
    }
}

fn portal_payload(kind: EventKind) -> Value {
    portal(kind).unwrap_or_default()
}
