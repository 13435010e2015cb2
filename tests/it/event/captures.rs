//! Requests that SoundHash's senders wrote to a socket, and the events in them.

use super::*;
use soundhash_webhook::{
    ApiLimitReached, ChannelIngested, EventKind, Fingerprint, FingerprintCreated, JobFailed, Match,
    MatchFound, QuotaWarning, Resource, SubscriptionUpdated, UserCreated, VideoFailed,
    VideoProcessed, VideoProcessing, VideoUploaded,
};

#[test]
fn every_capture_is_read_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".http").map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names, CAPTURES);
}

// The dispatcher.

#[track_caller]
fn dispatched(
    name: &str,
    id: &str,
    time: &str,
    resource: (&str, &str),
    data: impl Into<EventData>,
) {
    let mut expected = Event::new(data);
    expected.id = Some(id.into());
    expected.created_at = instant(time);
    expected.resource = Some(made!(Resource {
        id: Id::from(resource.0),
        resource_type: resource.1.to_owned(),
    }));
    let body = captured(name);
    assert_eq!(Event::from_slice(&body).unwrap(), expected);
    assert_eq!(serde_json::from_slice::<Event>(&body).unwrap(), expected);
    assert_eq!(read(&serde_json::to_string(&expected).unwrap()), expected);
}

#[test]
fn captured_api_limit_reached() {
    dispatched(
        "dispatcher-api_limit.reached",
        "sjkLsY9dHzXEbDrhEUyn9Q",
        "2026-11-23T08:56:12.700018Z",
        ("42", "user"),
        made!(ApiLimitReached {
            user_id: 42,
            limit_type: "api_calls",
            current_usage: 9500,
            limit_value: 10000,
            reset_at: instant("2025-11-01T00:00:00Z"),
        }),
    );
    dispatched(
        "dispatcher-api_limit.reached-minimal",
        "Gk2h7nEQtc5Kgo-4aBSNBA",
        "2026-11-23T08:56:12.702971Z",
        ("42", "user"),
        made!(ApiLimitReached {
            user_id: 42,
            limit_type: "storage",
            current_usage: 9500,
            limit_value: 10000,
        }),
    );
}

#[test]
fn captured_job_failed() {
    dispatched(
        "dispatcher-job.failed",
        "m-89TlhAumCD2qUAkKl9AA",
        "2026-11-23T08:56:12.688845Z",
        ("789", "job"),
        made!(JobFailed {
            job_id: 789,
            job_type: "video_process",
            target_id: "abc123",
            attempt_count: 3_u64,
            error_message: "Download failed: Connection timeout".to_owned(),
        }),
    );
    dispatched(
        "dispatcher-job.failed-minimal",
        "nMVce1MNITiip5Y3RB1E9A",
        "2026-11-23T08:56:12.690747Z",
        ("790", "job"),
        made!(JobFailed {
            job_id: 790,
            job_type: "video_process",
            target_id: "abc124",
            attempt_count: 1_u64,
        }),
    );
}

#[test]
fn captured_match_found_of_the_dispatcher() {
    dispatched(
        "dispatcher-match.found",
        "g-lRS26_gP40W6FKCarKTg",
        "2026-11-23T08:56:12.681555Z",
        ("123", "match"),
        made!(MatchFound {
            query_id: "abc123",
            matches: [made!(Match {
                match_id: Id::from(123),
                video_id: "xyz789",
                confidence: 0.95,
                start_time: 30.5,
                end_time: 45.2,
            })],
        }),
    );
}

#[test]
fn captured_subscription_updated() {
    dispatched(
        "dispatcher-subscription.updated",
        "ZIw2vuf1SBabDEDDeo7RNw",
        "2026-11-23T08:56:12.695635Z",
        ("123", "subscription"),
        made!(SubscriptionUpdated {
            subscription_id: 123,
            user_id: 42,
            plan_tier: "pro",
            status: "active",
            previous_plan: "free".to_owned(),
        }),
    );
    dispatched(
        "dispatcher-subscription.updated-minimal",
        "KCqCBVExp89HFxhTD8WSkg",
        "2026-11-23T08:56:12.697971Z",
        ("124", "subscription"),
        made!(SubscriptionUpdated {
            subscription_id: 124,
            user_id: 42,
            plan_tier: "pro",
            status: "active",
        }),
    );
}

#[test]
fn captured_user_created() {
    dispatched(
        "dispatcher-user.created",
        "rkjkGkoy-Fg5T2H_u1Uw2g",
        "2026-11-23T08:56:12.692996Z",
        ("42", "user"),
        made!(UserCreated {
            user_id: 42,
            username: "newuser",
            email: "user@example.com"
        }),
    );
}

#[test]
fn captured_video_processed_of_the_dispatcher() {
    dispatched(
        "dispatcher-video.processed",
        "GUk9QbG6t8IzsEZedqB0Ww",
        "2026-11-23T08:56:12.683837Z",
        ("456", "video"),
        made!(VideoProcessed {
            video_id: Id::from(456),
            video_url: "https://youtube.com/watch?v=abc123".to_owned(),
            fingerprint_count: 36,
            title: "Título – 曲 🎵".to_owned(),
            duration: 180.5,
            processing_time_seconds: 12.3,
        }),
    );
    dispatched(
        "dispatcher-video.processed-minimal",
        "Lj5invc61jBhWnpYZ6_Y8w",
        "2026-11-23T08:56:12.686155Z",
        ("457", "video"),
        made!(VideoProcessed {
            video_id: Id::from(457),
            video_url: "https://youtube.com/watch?v=zzz".to_owned(),
            fingerprint_count: 0,
        }),
    );
}

// The portal.

#[track_caller]
fn from_portal(name: &str, id: &str, time: &str, data: impl Into<EventData>) {
    let mut expected = Event::new(data);
    expected.id = Some(id.into());
    expected.created_at = instant(time);
    expected.webhook_id = Some("wh_test123".into());
    let body = captured(name);
    assert_eq!(Event::from_slice(&body).unwrap(), expected);
    assert_eq!(serde_json::from_slice::<Event>(&body).unwrap(), expected);
    assert_eq!(read(&serde_json::to_string(&expected).unwrap()), expected);
}

#[test]
fn captured_channel_ingested() {
    from_portal(
        "portal-channel.ingested",
        "del_1795424132814",
        "2026-11-23T08:55:32.814625Z",
        made!(ChannelIngested {
            id: 789,
            channel_id: "UCtest123",
            title: "Test Channel",
            video_count: 150_u64,
            ingested_videos: 150_u64,
            processing_time: 1200.5,
        }),
    );
}

#[test]
fn captured_fingerprint_created() {
    from_portal(
        "portal-fingerprint.created",
        "del_1795424132698",
        "2026-11-23T08:55:32.698957Z",
        made!(FingerprintCreated {
            id: 456,
            video_id: 123,
            end_time: 90,
            fingerprint_hash: "abc123def456",
        }),
    );
}

#[test]
fn captured_match_found_of_the_portal() {
    from_portal(
        "portal-match.found",
        "del_1795424132582",
        "2026-11-23T08:55:32.582927Z",
        made!(MatchFound {
            query_id: "q_test123",
            matches: [
                made!(Match {
                    video_id: 123,
                    title: "Matched Video".to_owned(),
                    confidence: 0.95,
                    start_time: 45,
                    end_time: 60,
                    similarity_score: 0.94,
                }),
                made!(Match {
                    video_id: 124,
                    title: "Another Match".to_owned(),
                    confidence: 0.87,
                    start_time: 10,
                    end_time: 25,
                    similarity_score: 0.85,
                }),
            ],
        }),
    );
}

#[test]
fn captured_quota_warning() {
    from_portal(
        "portal-quota.warning",
        "del_1795424132935",
        "2026-11-23T08:55:32.935584Z",
        made!(QuotaWarning {
            period: "daily",
            used: 8500,
            limit: 10000,
            remaining: 1500,
            percentage: 85.0,
            reset_at: instant("2026-11-24T00:00:00.935558Z"),
        }),
    );
}

#[test]
fn captured_video_failed() {
    from_portal(
        "portal-video.failed",
        "del_1795424132445",
        "2026-11-23T08:55:32.445721Z",
        made!(VideoFailed {
            id: 123,
            title: "Test Video",
            url: "https://youtube.com/watch?v=test123",
            status: "failed",
            error: "Failed to download video",
            error_code: "DOWNLOAD_ERROR",
        }),
    );
}

#[test]
fn captured_video_processed_of_the_portal() {
    let first = made!(Fingerprint {
        id: 456,
        end_time: 90
    });
    let second = made!(Fingerprint {
        id: 457,
        segment_index: 1_u64,
        start_time: 90,
        end_time: 180
    });
    from_portal(
        "portal-video.processed",
        "del_1795424132330",
        "2026-11-23T08:55:32.330187Z",
        made!(VideoProcessed {
            video_id: Id::from(123),
            video_url: "https://youtube.com/watch?v=test123".to_owned(),
            title: "Test Video".to_owned(),
            duration: 180.0,
            processing_time_seconds: 45.2,
            status: "processed".to_owned(),
            fingerprints: [first, second],
        }),
    );
}

#[test]
fn captured_video_processing() {
    from_portal(
        "portal-video.processing",
        "del_1795424132218",
        "2026-11-23T08:55:32.218782Z",
        made!(VideoProcessing {
            id: 123,
            title: "Test Video",
            url: "https://youtube.com/watch?v=test123",
            duration: 180,
            status: "processing",
            job_id: "job_abc123",
        }),
    );
}

#[test]
fn captured_video_uploaded() {
    from_portal(
        "portal-video.uploaded",
        "del_1795424132108",
        "2026-11-23T08:55:32.108009Z",
        made!(VideoUploaded {
            id: 123,
            title: "Test Video",
            url: "https://youtube.com/watch?v=test123",
            status: "uploaded",
            uploaded_at: instant("2026-11-23T08:55:32.107946Z"),
        }),
    );
}

// The test button.

#[track_caller]
fn tested(name: &str, id: &str, time: &str, data: Unrecognized) {
    dispatched(name, id, time, ("test-resource", "test"), data);
    let event = Event::from_slice(&captured(name)).unwrap();
    assert!(event.is_test());
}

fn button_payload() -> Value {
    json!({"test": true, "message": "This is a test webhook event from SoundHash"})
}

#[test]
fn captured_default_test_delivery() {
    let mut data = Unrecognized::new("match.found", button_payload());
    data.reason = Some("missing field `query_id`".into());
    tested(
        "test-button-default",
        "FRuQ-fN-DlEoR8qtVYQYfg",
        "2026-11-23T09:03:36.388630Z",
        data,
    );

    let event = Event::from_slice(&captured("test-button-default")).unwrap();
    assert_eq!(event.kind(), Some(EventKind::MatchFound));
    assert_eq!(event.event_type(), "match.found");
}

#[test]
fn captured_test_delivery_with_a_part_of_a_payload() {
    let mut data = Unrecognized::new("match.found", json!({"match_id": 999, "confidence": 0.99}));
    data.reason = Some("missing field `query_id`".into());
    tested(
        "test-button-partial",
        "EAwsPiTMDzvwVVw3Dijt5Q",
        "2026-11-23T09:03:36.393787Z",
        data,
    );
}

#[test]
fn captured_test_delivery_of_an_unknown_type() {
    let data = Unrecognized::new("made.up", button_payload());
    tested(
        "test-button-unknown-type",
        "1wbBYJ_eVVsvfN5QCy-nXg",
        "2026-11-23T09:03:36.401360Z",
        data,
    );

    let event = Event::from_slice(&captured("test-button-unknown-type")).unwrap();
    assert_eq!(event.kind(), None);
    assert_eq!(event.event_type(), "made.up");
}

#[test]
fn the_payload_of_the_test_button_fits_no_type_and_is_never_rejected() {
    for kind in EventKind::ALL {
        let unrecognized = misfit(kind.as_str(), button_payload());
        assert_eq!(unrecognized.payload, button_payload());
        let reason = unrecognized.reason.unwrap();
        assert!(
            reason.starts_with("missing field `") && reason.ends_with('`'),
            "{reason}"
        );
    }
}

#[test]
fn only_the_test_button_makes_a_test() {
    assert!(!read(r#"{"type": "test", "data": {}}"#).is_test());
    assert!(!read(r#"{"type": "x", "data": {}, "resource_type": "user"}"#).is_test());
    assert!(!read(r#"{"type": "x", "data": {}, "resource_id": "test"}"#).is_test());
    assert!(read(r#"{"type": "x", "data": {}, "resource_type": "test"}"#).is_test());
}
