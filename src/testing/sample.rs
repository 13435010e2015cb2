//! Sample events as SoundHash's senders write them.

use serde_json::{Value, json};

use crate::event::{EventKind, Sender, kind::event_types};

/// Returns a sample event as `sender` writes it, including the envelope.
///
/// The ids and timestamps are fixed, so the same arguments always produce the same event. Different
/// arguments produce different ids. If `sender` never sends this kind of event, the sample combines
/// the envelope of `sender` with the other sender's payload. You can change the value to test your
/// handler with unusual events. If your application rejects old events, use a
/// [`fresh_sample`](super::fresh_sample()) instead.
///
/// ```
/// use soundhash_webhook::{Sender, testing::sample};
/// use soundhash_webhook::{Event, EventKind};
///
/// let mut value = sample(EventKind::VideoProcessed, Sender::Dispatcher);
/// value["data"]["fingerprint_count"] = 0.into();
/// let event = Event::from_slice(&Sender::Dispatcher.to_bytes(&value))?;
/// assert_eq!(event.kind(), Some(EventKind::VideoProcessed));
/// # Ok::<(), soundhash_webhook::EventError>(())
/// ```
#[must_use]
pub fn sample(kind: EventKind, sender: Sender) -> Value {
    match sender {
        Sender::Portal => portal(kind),
        Sender::Dispatcher => dispatcher(kind),
    }
}

fn portal(kind: EventKind) -> Value {
    let mut data = payload(kind, Sender::Portal);
    // The portal adds these fields to every payload.
    data["uploaded_at"] = "2026-11-23T08:55:32.108009+00:00".into();
    data["reset_at"] = "2026-11-24T00:00:00.108009+00:00".into();
    json!({
        "event": kind.as_str(),
        "timestamp": "2026-11-23T08:55:32.108009+00:00",
        "webhook_id": "wh_test123",
        "delivery_id": format!("del_17954241321{:02}", kind as u8),
        "data": data,
    })
}

fn dispatcher(kind: EventKind) -> Value {
    let mut event = json!({
        "id": format!("Lj5invc61jBhWnpYZ6_Y{:02}", kind as u8),
        "type": kind.as_str(),
        "created_at": "2026-11-23T08:56:12.681555+00:00Z",
        "data": payload(kind, Sender::Dispatcher),
    });
    if let Some((resource_id, resource_type)) = resource(kind) {
        event["resource_id"] = resource_id.into();
        event["resource_type"] = resource_type.into();
    }
    event
}

/// Returns the id and type of the resource. In the payload, the id need not be a string.
fn resource(kind: EventKind) -> Option<(&'static str, &'static str)> {
    match kind {
        EventKind::VideoUploaded => Some(("123", "video")),
        EventKind::VideoProcessing => Some(("123", "video")),
        EventKind::VideoProcessed => Some(("456", "video")),
        EventKind::VideoFailed => Some(("123", "video")),
        EventKind::MatchFound => Some(("123", "match")),
        EventKind::FingerprintCreated => Some(("456", "fingerprint")),
        EventKind::ChannelIngested => Some(("789", "channel")),
        EventKind::QuotaWarning => None,
        EventKind::JobFailed => Some(("789", "job")),
        EventKind::UserCreated => Some(("42", "user")),
        EventKind::SubscriptionUpdated => Some(("123", "subscription")),
        EventKind::ApiLimitReached => Some(("42", "user")),
    }
}

/// Returns the payload as `sender` writes it, or as the other sender writes it if `sender` never
/// sends this kind of event.
fn payload(kind: EventKind, sender: Sender) -> Value {
    match (kind, sender) {
        (EventKind::VideoProcessed, Sender::Portal) => json!({
            "id": 123, "title": "Test Video", "url": "https://youtube.com/watch?v=test123",
            "duration": 180, "status": "processed",
            "fingerprints": [
                {"id": 456, "segment_index": 0, "start_time": 0, "end_time": 90},
                {"id": 457, "segment_index": 1, "start_time": 90, "end_time": 180},
            ],
            "processing_time": 45.2,
        }),
        (EventKind::MatchFound, Sender::Portal) => json!({
            "query_id": "q_test123",
            "matches": [
                {
                    "video_id": 123, "title": "Matched Video", "confidence": 0.95,
                    "start_time": 45, "end_time": 60, "similarity_score": 0.94,
                },
                {
                    "video_id": 124, "title": "Another Match", "confidence": 0.87,
                    "start_time": 10, "end_time": 25, "similarity_score": 0.85,
                },
            ],
        }),
        _ => serde_json::from_str(documented(kind)).expect("a sample is JSON"),
    }
}

/// Returns the payload that is also shown in the kind's docs.
fn documented(kind: EventKind) -> &'static str {
    macro_rules! payloads {
        ($($Kind:ident = $name:literal, $sentence:literal;)*) => {
            match kind {
                $(EventKind::$Kind => include_str!(concat!("../event/samples/", $name, ".json")),)*
            }
        };
    }
    event_types!(payloads)
}
