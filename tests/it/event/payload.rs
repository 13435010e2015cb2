//! Payloads: every naming scheme of SoundHash's documentation and senders.

use super::*;
use soundhash_webhook::{
    ApiLimitReached, Fingerprint, FingerprintCreated, JobFailed, Match, MatchFound, QuotaWarning,
    VideoProcessed,
};

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
fn a_count_of_fingerprints_is_never_computed() {
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
fn null_and_absent_are_the_same_for_optional_fields() {
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
fn the_dispatchers_field_name_wins() {
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
fn the_serialized_field_names_of_a_match_win() {
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
fn a_list_of_matches_wins_over_a_flat_match_unless_it_is_empty() {
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
fn a_query_without_matches_is_read_as_an_empty_list() {
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
fn new_fields_are_ignored() {
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
        "data.matches[]: missing field `confidence`"
    );
    assert_eq!(
        misfit("job.failed", json!({"job_id": 1})),
        "missing field `job_type`"
    );
    assert_eq!(
        misfit("user.created", json!({"user_id": [1]})),
        "data.user_id: invalid type: sequence, expected an id (a 64-bit integer or a string)"
    );
    for payload in [Value::Null, json!("n"), json!([]), json!([1, "n", "e"])] {
        assert_eq!(misfit("user.created", payload), "payload is not an object");
    }
}
