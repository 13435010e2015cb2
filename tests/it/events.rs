//! Events: what SoundHash's senders write, and what comes out of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use soundhash_webhook::{
    ApiLimitReached, ChannelIngested, Event, EventData, EventError, EventErrorKind, EventKind,
    Fingerprint, FingerprintCreated, Id, JobFailed, Match, MatchFound, QuotaWarning, Resource,
    SubscriptionUpdated, Timestamp, Unrecognized, UserCreated, VideoFailed, VideoProcessed,
    VideoProcessing, VideoUploaded,
};

mod laws;

/// A value of a `#[non_exhaustive]` struct, all other fields being their default.
macro_rules! made {
    ($Type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut value = $Type::default();
        $(value.$field = $value.into();)*
        value
    }};
}

/// Every captured request, by its name.
const CAPTURES: [&str; 21] = [
    "dispatcher-api_limit.reached",
    "dispatcher-api_limit.reached-minimal",
    "dispatcher-job.failed",
    "dispatcher-job.failed-minimal",
    "dispatcher-match.found",
    "dispatcher-subscription.updated",
    "dispatcher-subscription.updated-minimal",
    "dispatcher-user.created",
    "dispatcher-video.processed",
    "dispatcher-video.processed-minimal",
    "portal-channel.ingested",
    "portal-fingerprint.created",
    "portal-match.found",
    "portal-quota.warning",
    "portal-video.failed",
    "portal-video.processed",
    "portal-video.processing",
    "portal-video.uploaded",
    "test-button-default",
    "test-button-partial",
    "test-button-unknown-type",
];

/// The body of a captured request.
#[track_caller]
fn captured(name: &str) -> Vec<u8> {
    let path = format!("{}/captures/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let request = std::fs::read(path).unwrap();
    let head = request
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    request[head + 4..].to_vec()
}

#[track_caller]
fn read(body: &str) -> Event {
    let event = Event::from_slice(body.as_bytes()).unwrap();
    let kept = serde_json::to_vec(&event).unwrap();
    assert_eq!(Event::from_slice(&kept).unwrap(), event);
    assert_eq!(serde_json::from_slice::<Event>(&kept).unwrap(), event);
    event
}

/// The data of an event with this type and this payload, as the portal's quick start writes it.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "payloads are made in place")]
fn data(event_type: &str, payload: Value) -> EventData {
    read(&json!({"event": event_type, "data": payload}).to_string()).data
}

#[track_caller]
fn misfit(event_type: &str, payload: Value) -> Unrecognized {
    match data(event_type, payload) {
        EventData::Unrecognized(unrecognized) => unrecognized,
        other => panic!("fits: {other:?}"),
    }
}

#[track_caller]
fn refused(body: impl AsRef<[u8]>) -> EventError {
    Event::from_slice(body.as_ref()).unwrap_err()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the fields that it is for are optional"
)]
fn timestamp(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn there_is_no_capture_that_is_not_read_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".http").map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names, CAPTURES);
}

// The dispatcher's captures.

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
    expected.created_at = timestamp(time);
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
            reset_at: timestamp("2025-11-01T00:00:00Z"),
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

// The portal's captures.

#[track_caller]
fn from_portal(name: &str, id: &str, time: &str, data: impl Into<EventData>) {
    let mut expected = Event::new(data);
    expected.id = Some(id.into());
    expected.created_at = timestamp(time);
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
            reset_at: timestamp("2026-11-24T00:00:00.935558Z"),
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
            uploaded_at: timestamp("2026-11-23T08:55:32.107946Z"),
        }),
    );
}

// The test button's captures.

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
fn the_test_buttons_payload_fits_no_type_and_is_never_refused() {
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

// Envelopes.

#[test]
fn an_envelope_needs_only_a_type_and_a_payload() {
    let expected = Event::new(Unrecognized::new("made.up", json!({})));
    assert_eq!(read(r#"{"event": "made.up", "data": {}}"#), expected);
    assert_eq!(read(r#"{"type": "made.up", "data": {}}"#), expected);
    assert_eq!(
        read(r#" { "data" : {} , "new" : [] , "type" : "made.up" } "#),
        expected
    );
}

#[test]
fn any_json_is_a_payload_and_any_string_is_a_type() {
    for payload in ["null", "true", "1.5", r#""text""#, "[]", r#"{"a": [null]}"#] {
        let event = read(&format!(r#"{{"type": "", "data": {payload}}}"#));
        let payload: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(event, Event::new(Unrecognized::new("", payload)));
    }
    assert_eq!(
        read(r#"{"type": "match\u002efound", "data": 1}"#).event_type(),
        "match.found"
    );
}

#[test]
fn the_dispatchers_spelling_wins_over_the_portals() {
    let event = read(
        r#"{"event": "b", "type": "a", "delivery_id": "b", "id": "a",
            "timestamp": "2024-01-02T00:00:00Z", "created_at": "2024-01-01T00:00:00Z", "data": 1}"#,
    );
    assert_eq!(event.event_type(), "a");
    assert_eq!(event.id, Some("a".into()));
    assert_eq!(event.created_at, timestamp("2024-01-01T00:00:00Z"));
}

#[test]
fn an_unusable_spelling_gives_way_to_the_other() {
    for unusable in ["null", "true", "1.5", "[1]", r#"{"a": 1}"#] {
        let event = read(&format!(
            r#"{{"type": {unusable}, "event": "b", "id": {unusable}, "delivery_id": 7,
                "created_at": {unusable}, "timestamp": "2024-01-02T00:00:00Z", "data": 1}}"#
        ));
        assert_eq!(event.event_type(), "b");
        assert_eq!(event.id, Some(7_u64.into()));
        assert_eq!(event.created_at, timestamp("2024-01-02T00:00:00Z"));
    }
    let broken =
        r#"{"type": "x", "created_at": "now", "timestamp": "2024-01-02T00:00:00Z", "data": 1}"#;
    assert_eq!(read(broken).created_at, timestamp("2024-01-02T00:00:00Z"));
}

#[test]
fn an_optional_field_of_the_wrong_type_is_absent() {
    for unusable in ["null", "true", "1.5", "[1]", r#"{"a": 1}"#, r#""\ud83c""#] {
        let event = read(&format!(
            r#"{{"type": "x", "id": {unusable}, "created_at": {unusable}, "webhook_id": {unusable},
                "resource_id": {unusable}, "resource_type": {unusable}, "data": 1}}"#
        ));
        assert_eq!(event, Event::new(Unrecognized::new("x", json!(1))));
    }
}

#[test]
fn each_half_of_a_resource_can_be_absent() {
    let event = read(r#"{"type": "x", "data": 1, "resource_id": 5}"#);
    assert_eq!(event.resource, Some(made!(Resource { id: Id::from(5) })));
    let event = read(r#"{"type": "x", "data": 1, "resource_type": "user"}"#);
    assert_eq!(
        event.resource,
        Some(made!(Resource {
            resource_type: "user".to_owned()
        }))
    );
}

#[test]
fn the_four_timestamps_and_a_broken_one() {
    let at = |text: &str| {
        read(&json!({"event": "x", "data": 1, "timestamp": text}).to_string()).created_at
    };
    assert_eq!(
        at("2024-01-15T10:30:00Z"),
        timestamp("2024-01-15T10:30:00Z")
    );
    let micros = timestamp("2026-11-23T08:56:12.681555Z");
    assert_eq!(at("2026-11-23T08:56:12.681555+00:00"), micros);
    assert_eq!(at("2026-11-23T08:56:12.681555Z"), micros);
    assert_eq!(at("2026-11-23T08:56:12.681555+00:00Z"), micros);
    assert_eq!(at("2026-11-23T08:56:12.681555+00:00ZZ"), None);
    assert_eq!(at("yesterday"), None);
}

#[test]
fn ids_are_kept_as_they_came() {
    let id = |json: &str| read(&format!(r#"{{"type": "x", "id": {json}, "data": 1}}"#)).id;
    assert_eq!(id("18446744073709551615"), Some(Id::from(u64::MAX)));
    assert_eq!(id("-9223372036854775808"), Some(Id::from(i64::MIN)));
    assert_eq!(id("18446744073709551616"), None);
    assert_eq!(id("-9223372036854775809"), None);
    assert_eq!(id("5"), Some(Id::from(5_u64)));
    assert_eq!(id(r#""5""#), Some(Id::from("5")));
    assert_eq!(id(r#""""#), Some(Id::from("")));
    assert_eq!(id(r#""a\"\ud83c\udfb5""#), Some(Id::from("a\"🎵")));
}

#[test]
fn of_a_key_that_stands_twice_the_last_value_counts() {
    let event = read(
        r#"{"type": "a", "type": "user.created", "id": 1, "id": 2,
            "data": 1, "data": {"user_id": 1, "user_id": 2, "username": "n", "email": 1, "email": "e"}}"#,
    );
    let user = made!(UserCreated {
        user_id: 2,
        username: "n",
        email: "e"
    });
    assert_eq!(event.data, user.into());
    assert_eq!(event.id, Some(2_u64.into()));

    // The last value counts even if it is of no use.
    let event = read(r#"{"type": "x", "id": 1, "id": null, "data": 1}"#);
    assert_eq!(event.id, None);
    let twice = r#"{"event": "user.created", "data": {"user_id": 1, "username": "n", "email": "e", "email": 5}}"#;
    match read(twice).data {
        EventData::Unrecognized(it) => assert_eq!(
            it.reason.as_deref(),
            Some("invalid type: integer `5`, expected a string")
        ),
        other => panic!("fits: {other:?}"),
    }
}

#[test]
fn an_event_is_written_as_the_dispatcher_writes_it() {
    let event = Event::from_slice(&captured("dispatcher-video.processed")).unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"id":"GUk9QbG6t8IzsEZedqB0Ww","type":"video.processed","#,
            r#""created_at":"2026-11-23T08:56:12.683837Z","data":{"video_id":456,"#,
            r#""video_url":"https://youtube.com/watch?v=abc123","fingerprint_count":36,"#,
            r#""title":"Título – 曲 🎵","duration":180.5,"processing_time_seconds":12.3},"#,
            r#""resource_id":"456","resource_type":"video"}"#,
        )
    );

    let event = Event::from_slice(&captured("portal-match.found")).unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"id":"del_1795424132582","type":"match.found","#,
            r#""created_at":"2026-11-23T08:55:32.582927Z","data":{"query_id":"q_test123","matches":["#,
            r#"{"video_id":123,"title":"Matched Video","confidence":0.95,"start_time":45.0,"#,
            r#""end_time":60.0,"similarity_score":0.94},"#,
            r#"{"video_id":124,"title":"Another Match","confidence":0.87,"start_time":10.0,"#,
            r#""end_time":25.0,"similarity_score":0.85}]},"webhook_id":"wh_test123"}"#,
        )
    );

    let event = Event::new(Unrecognized::new("made.up", Value::Null));
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"type":"made.up","data":null}"#
    );
}

#[test]
fn a_dispatchers_payload_is_written_as_it_came() {
    for name in CAPTURES
        .iter()
        .filter(|name| name.starts_with("dispatcher-"))
    {
        let body = captured(name);
        let value: Value = serde_json::from_slice(&body).unwrap();
        let event = Event::from_slice(&body).unwrap();
        if event.kind() != Some(EventKind::MatchFound) {
            let written = serde_json::to_value(&event.data).unwrap();
            // Of two instants only the spelling may differ.
            assert_eq!(written, value["data"], "{name}");
        }
    }
}

#[test]
fn an_event_that_is_none_is_not_deserialized() {
    let message = |json: &str| serde_json::from_str::<Event>(json).unwrap_err().to_string();
    assert_eq!(message("{}"), "event has no type");
    assert_eq!(message("[]"), "body is JSON, but not an object");
    assert_eq!(message(r#"{"type": "x"}"#), "event has no payload");
}

// Payloads: every spelling that SoundHash's documentation and its senders have.

#[test]
fn video_processed_of_the_portals_page() {
    let payload = json!({
        "video_id": "v_1", "title": "A", "duration": 180, "fingerprints_count": 36,
        "processing_time": 45.2,
    });
    let expected = made!(VideoProcessed {
        video_id: Id::from("v_1"),
        title: "A".to_owned(),
        duration: 180.0,
        fingerprint_count: 36,
        processing_time_seconds: 45.2,
    });
    assert_eq!(data("video.processed", payload), expected.into());
}

#[test]
fn video_processed_of_the_quick_start_promises_a_title_only() {
    let expected = made!(VideoProcessed {
        title: "A".to_owned()
    });
    assert_eq!(
        data("video.processed", json!({"title": "A"})),
        expected.into()
    );
    let expected = made!(VideoProcessed {
        video_id: Id::from(1)
    });
    assert_eq!(data("video.processed", json!({"id": 1})), expected.into());
}

#[test]
fn a_count_of_fingerprints_is_read_and_not_made_up() {
    let payload = json!({
        "id": 1,
        "fingerprints": [{"id": 2, "segment_index": 0, "start_time": 0, "end_time": 1.5}],
    });
    let expected = made!(VideoProcessed {
        video_id: Id::from(1),
        fingerprints: [made!(Fingerprint {
            id: 2,
            end_time: 1.5
        })],
    });
    assert_eq!(data("video.processed", payload), expected.into());
}

#[test]
fn null_is_absent_wherever_a_field_may_be() {
    let payload = json!({
        "video_id": null, "id": 1, "title": null, "video_url": null, "url": null,
        "duration": null, "status": null, "fingerprint_count": null, "fingerprints_count": null,
        "fingerprints": null, "processing_time_seconds": null, "processing_time": null,
    });
    let expected = made!(VideoProcessed {
        video_id: Id::from(1)
    });
    assert_eq!(data("video.processed", payload), expected.into());

    let payload = json!({
        "query_id": "q", "query_video_id": null, "match_id": null, "confidence": null,
        "matches": [{
            "match_id": null, "video_id": 1, "title": null, "confidence": 1, "start_time": 0,
            "end_time": 2, "similarity_score": null, "segment_start": null,
        }],
    });
    let only = made!(Match {
        video_id: 1,
        confidence: 1,
        end_time: 2
    });
    assert_eq!(
        data("match.found", payload),
        made!(MatchFound {
            query_id: "q",
            matches: [only]
        })
        .into()
    );

    let payload = json!({
        "job_id": 1, "job_type": "t", "target_id": 2, "attempt_count": 3, "error_message": null,
    });
    let expected = made!(JobFailed {
        job_id: 1,
        job_type: "t",
        target_id: 2,
        attempt_count: 3_u64
    });
    assert_eq!(data("job.failed", payload), expected.into());
}

#[test]
fn of_two_spellings_at_once_the_dispatchers_counts() {
    let payload = json!({
        "id": 1, "video_id": 2, "url": "a", "video_url": "b", "fingerprints_count": 3,
        "fingerprint_count": 4, "processing_time": 5, "processing_time_seconds": 6,
    });
    let expected = made!(VideoProcessed {
        video_id: Id::from(2),
        video_url: "b".to_owned(),
        fingerprint_count: 4,
        processing_time_seconds: 6.0,
    });
    assert_eq!(data("video.processed", payload), expected.into());
}

#[test]
fn of_two_spellings_in_a_match_the_one_that_is_written_counts() {
    let payload = json!({
        "query_video_id": "b", "query_id": "a",
        "matches": [{
            "matched_video_id": 2, "video_id": 1, "confidence": 0.5, "segment_start": 4,
            "start_time": 3, "segment_end": 6, "end_time": 5,
        }],
    });
    let only = made!(Match {
        video_id: 1,
        confidence: 0.5,
        start_time: 3,
        end_time: 5
    });
    let expected = made!(MatchFound {
        query_id: "a",
        matches: [only]
    });
    assert_eq!(data("match.found", payload), expected.into());

    let payload = json!({
        "query_video_id": "b",
        "matches": [{"matched_video_id": 2, "confidence": 1, "segment_start": 4, "segment_end": 6}],
    });
    let only = made!(Match {
        video_id: 2,
        confidence: 1,
        start_time: 4,
        end_time: 6
    });
    let expected = made!(MatchFound {
        query_id: "b",
        matches: [only]
    });
    assert_eq!(data("match.found", payload), expected.into());
}

#[test]
fn a_list_of_matches_counts_before_a_flat_one_unless_it_is_empty() {
    let flat = json!({
        "query_id": "q", "match_id": 9, "matched_video_id": 2, "confidence": 0.5,
        "segment_start": 1, "segment_end": 2,
        "matches": [{"video_id": 1, "confidence": 1, "start_time": 3, "end_time": 4}],
    });
    let listed = made!(Match {
        video_id: 1,
        confidence: 1,
        start_time: 3,
        end_time: 4
    });
    let expected = made!(MatchFound {
        query_id: "q",
        matches: [listed]
    });
    assert_eq!(data("match.found", flat.clone()), expected.into());

    let only = made!(Match {
        match_id: Id::from(9),
        video_id: 2,
        confidence: 0.5,
        start_time: 1,
        end_time: 2,
    });
    let expected = made!(MatchFound {
        query_id: "q",
        matches: [only]
    });
    for none in [json!([]), Value::Null] {
        let mut payload = flat.clone();
        payload["matches"] = none;
        assert_eq!(data("match.found", payload), expected.clone().into());
    }
}

#[test]
fn no_match_at_all_is_an_empty_list() {
    let expected = made!(MatchFound { query_id: "q" });
    let payload = json!({"query_id": "q", "matches": []});
    assert_eq!(data("match.found", payload), expected.into());
}

#[test]
fn seconds_come_as_integers_or_floats() {
    for (start, end) in [(json!(0), json!(90)), (json!(0.0), json!(9e1))] {
        let payload = json!({
            "id": "f", "video_id": "v", "segment_index": 0, "start_time": start, "end_time": end,
            "fingerprint_hash": "h",
        });
        let expected = made!(FingerprintCreated {
            id: "f",
            video_id: "v",
            end_time: 90,
            fingerprint_hash: "h",
        });
        assert_eq!(data("fingerprint.created", payload), expected.into());
    }
}

#[test]
fn a_quota_can_be_exceeded() {
    let payload = json!({
        "period": "daily", "used": 10500, "limit": 10000, "remaining": -500, "percentage": 105,
    });
    let expected = made!(QuotaWarning {
        period: "daily",
        used: 10500,
        limit: 10000,
        remaining: -500,
        percentage: 105,
    });
    assert_eq!(data("quota.warning", payload), expected.into());
}

#[test]
fn a_broken_timestamp_in_a_payload_is_absent() {
    for broken in [
        json!("now"),
        json!(0),
        json!(-1.5),
        json!(true),
        json!([[1]]),
        json!({"a": 1}),
    ] {
        let payload = json!({
            "user_id": 1, "limit_type": "t", "current_usage": 2, "limit_value": 3,
            "reset_at": broken,
        });
        let expected = made!(ApiLimitReached {
            user_id: 1,
            limit_type: "t",
            current_usage: 2,
            limit_value: 3,
        });
        assert_eq!(data("api_limit.reached", payload), expected.into());
    }
}

#[test]
fn new_fields_are_passed_over() {
    for name in CAPTURES {
        let body = captured(name);
        let expected = Event::from_slice(&body).unwrap();
        let mut value: Value = serde_json::from_slice(&body).unwrap();
        value["new"] = json!({"deep": [1, {"id": null}]});
        if !matches!(expected.data, EventData::Unrecognized(_)) {
            value["data"]["new"] = json!([1.5, "text", {"id": 1}]);
        }
        assert_eq!(read(&value.to_string()), expected, "{name}");
    }
}

#[test]
fn a_misfit_is_kept_with_its_reason() {
    let misfit = |event_type, payload: Value| {
        let unrecognized = misfit(event_type, payload.clone());
        assert_eq!(unrecognized.event_type, event_type);
        assert_eq!(unrecognized.payload, payload);
        unrecognized.reason.unwrap()
    };
    assert_eq!(
        misfit("video.processed", json!({"duration": 1})),
        "missing field `video_id`"
    );
    assert_eq!(
        misfit("match.found", json!({"query_id": 1})),
        "missing field `matches`"
    );
    assert_eq!(
        misfit("match.found", json!({"query_id": 1, "matched_video_id": 2})),
        "missing field `confidence`"
    );
    assert_eq!(
        misfit(
            "match.found",
            json!({"query_id": 1, "matches": [{"video_id": 2}]})
        ),
        "missing field `confidence`"
    );
    assert_eq!(
        misfit("job.failed", json!({"job_id": 1})),
        "missing field `job_type`"
    );
    assert_eq!(
        misfit("user.created", json!({"user_id": [1]})),
        "invalid type: sequence, expected an id (a 64-bit integer or a string)"
    );
    for payload in [Value::Null, json!("n"), json!([]), json!([1, "n", "e"])] {
        assert_eq!(misfit("user.created", payload), "payload is not an object");
    }
}

// What is no event.

#[track_caller]
fn says(body: impl AsRef<[u8]>, kind: EventErrorKind, at: Option<(usize, usize)>, text: &str) {
    let error = refused(body);
    assert_eq!(error.kind(), kind);
    assert_eq!(error.line().zip(error.column()), at);
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_body_that_is_no_json_is_a_syntax_error_with_its_place() {
    let syntax = |body: &[u8], line, column, what: &str| {
        let text = format!("body is not JSON: {what} at line {line} column {column}");
        says(body, EventErrorKind::Syntax, Some((line, column)), &text);
    };
    syntax(b"", 1, 0, "EOF while parsing a value");
    syntax(b"not json", 1, 2, "expected ident");
    syntax(b"{", 1, 1, "EOF while parsing an object");
    syntax(b"[1,", 1, 3, "EOF while parsing a value");
    syntax(b"[1] x", 1, 5, "trailing characters");
    syntax(
        br#"{"type": "x", "data": 1} {}"#,
        1,
        26,
        "trailing characters",
    );
    syntax(br#"{"type": "x", "data": NaN}"#, 1, 23, "expected value");
    syntax(
        br#"{"type": "x", "data": {"a": -Infinity}}"#,
        1,
        30,
        "invalid number",
    );
    syntax(
        b"{\n  \"event\": \"x\",\n  \"data\": {\n    \"a\": Infinity\n  }\n}",
        4,
        10,
        "expected value",
    );
    syntax(b"\xef\xbb\xbf{}", 1, 1, "expected value");
}

#[test]
fn bytes_that_are_no_utf_8_are_a_syntax_error_wherever_they_stand() {
    for (body, column) in [
        (b"{\"type\": \"x\",\n \"data\": \"\xff\"}".as_slice(), 11),
        (b"{\"type\": \"x\",\n \"new\":  \"\xff\", \"data\": 1}", 11),
        (b"{\"type\": \"x\",\n \"\xed\xa0\xbc\": 1, \"data\": 1}", 3),
    ] {
        let text =
            format!("body is not JSON: invalid unicode code point at line 2 column {column}");
        says(body, EventErrorKind::Syntax, Some((2, column)), &text);
    }
}

#[test]
fn half_a_surrogate_pair_is_a_syntax_error_where_it_has_to_be_read() {
    let body = r#"{"event": "video.processed", "data": {"id": 1, "title": "\ud83c"}}"#;
    let text = "body is not JSON: unexpected end of hex escape at line 1 column 64";
    says(body, EventErrorKind::Syntax, Some((1, 64)), text);
    // The same place as for someone who reads the body in one go.
    let whole = serde_json::from_str::<Value>(body).unwrap_err();
    assert_eq!((whole.line(), whole.column()), (1, 64));

    let error = refused(r#"{"event": "made.up", "data": ["\ud83c"]}"#);
    assert_eq!(error.kind(), EventErrorKind::Syntax);
    let error = refused("{\n\"event\": \"\\ud83c\", \"data\": 1}");
    assert_eq!(
        (error.kind(), error.line()),
        (EventErrorKind::Syntax, Some(2))
    );

    // In a field that nobody reads it does no harm.
    let event = read(r#"{"event": "video.processed", "data": {"id": 1, "new": "\ud83c"}}"#);
    assert_eq!(
        event.data,
        made!(VideoProcessed {
            video_id: Id::from(1)
        })
        .into()
    );
}

#[test]
fn json_that_is_no_object_is_told_from_what_is_no_json() {
    for body in [
        "[]",
        "[1, {}]",
        "null",
        "true",
        "-1.5",
        r#""text""#,
        " [ ] ",
    ] {
        says(
            body,
            EventErrorKind::NotAnObject,
            None,
            "body is JSON, but not an object",
        );
    }
    // In the order of an envelope's fields, and yet not an object.
    let array = r#"["id", null, "x", null, null, null, null, null, null, {}]"#;
    says(
        array,
        EventErrorKind::NotAnObject,
        None,
        "body is JSON, but not an object",
    );
}

#[test]
fn an_object_without_a_type_or_a_payload_is_no_event() {
    for body in [
        "{}",
        r#"{"data": 1}"#,
        r#"{"type": null, "event": 5, "data": {}}"#,
    ] {
        says(body, EventErrorKind::MissingType, None, "event has no type");
    }
    for body in [
        r#"{"type": "x"}"#,
        r#"{"event": "user.created", "payload": {}}"#,
    ] {
        says(
            body,
            EventErrorKind::MissingPayload,
            None,
            "event has no payload",
        );
    }
}

#[test]
fn nothing_of_the_body_is_in_an_error() {
    for body in [
        r#"{"type": "SECRET", "data": SECRET}"#,
        r#"{"type": "SECRET", "data": "SECRET\ud83c"}"#,
        r#"{"SECRET": "SECRET", "data": "SECRET"}"#,
        r#"{"type": "SECRET"}"#,
        r#""SECRET""#,
        r#"["SECRET"]"#,
    ] {
        let error = refused(body);
        assert!(
            !format!("{error} {error:?}").contains("SECRET"),
            "{error:?}"
        );
    }
}

#[test]
fn deep_nesting_is_refused_and_quickly() {
    let start = Instant::now();
    let (open, close) = ("[".repeat(50_000), "]".repeat(50_000));
    let depth = EventErrorKind::Syntax;
    assert_eq!(refused(&open).kind(), depth);
    assert_eq!(
        refused(format!(r#"{{"type": "x", "data": {open}"#)).kind(),
        depth
    );
    let within = format!(r#"{{"type": "x", "data": {open}{close}}}"#);
    says(
        &within,
        depth,
        Some((1, 150)),
        "body is not JSON: recursion limit exceeded at line 1 column 150",
    );
    let within = format!(r#"{{"type": "user.created", "data": {{"email": {open}{close}}}}}"#);
    assert_eq!(refused(&within).kind(), depth);
    let objects = r#"{"a":"#.repeat(50_000);
    assert_eq!(
        refused(format!(r#"{{"type": "x", "data": {objects}"#)).kind(),
        depth
    );

    // Where nothing is read, depth does no harm.
    let skipped = format!(r#"{{"type": "x", "new": {open}{close}, "data": 1}}"#);
    assert_eq!(read(&skipped), Event::new(Unrecognized::new("x", json!(1))));
    let skipped = format!(
        r#"{{"type": "quota.warning", "data": {{"new": {open}{close},
        "period": "p", "used": 1, "limit": 2, "remaining": 1, "percentage": 50, "reset_at": {open}{close}}}}}"#
    );
    let quota = made!(QuotaWarning {
        period: "p",
        used: 1,
        limit: 2,
        remaining: 1,
        percentage: 50
    });
    assert_eq!(read(&skipped).data, quota.into());

    assert_eq!(
        refused(format!("{open}{close}")).kind(),
        EventErrorKind::NotAnObject
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn json_within_strings_is_left_alone() {
    // serde_json's `Value` would read the inner JSON, and that within it, ever deeper.
    let (open, close) = ("[".repeat(120), "]".repeat(120));
    let mut bomb = format!("{open}1{close}");
    for _ in 0..16 {
        let text = Value::from(bomb).to_string();
        bomb = format!(r#"{open}{{"$serde_json::private::RawValue":{text}}}{close}"#);
    }
    read(&format!(r#"{{"type": "made.up", "data": {bomb}}}"#));
    read(&format!(
        r#"{{"type": "job.failed", "data": {{"job_id": {bomb}}}}}"#
    ));
}

#[test]
fn a_body_cut_off_anywhere_is_a_syntax_error() {
    for name in CAPTURES {
        let body = captured(name);
        for end in 0..body.len() {
            assert_eq!(
                refused(&body[..end]).kind(),
                EventErrorKind::Syntax,
                "{name} {end}"
            );
        }
    }
}

#[test]
fn everything_is_send_and_sync() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<Event>();
    check::<EventError>();
    check::<Id>();
    check::<Timestamp>();
}
