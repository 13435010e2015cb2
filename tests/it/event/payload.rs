//! Payloads, with every naming scheme that SoundHash's documentation and senders use.

use super::*;

/// Checks that all of these payloads parse to the same result as `expected`, which is in the
/// dispatcher's format.
#[track_caller]
fn read_as<const N: usize>(event_type: &str, payloads: [Value; N], expected: Value) {
    let read = payloads.map(|payload| {
        let data = data(event_type, payload);
        assert!(!matches!(data, EventData::Unrecognized(_)), "{data:?}");
        serde_json::to_value(data).unwrap()
    });
    assert_eq!(read.as_slice(), vec![expected; N]);
}

#[test]
fn every_naming_scheme_of_a_video_is_read() {
    let named = json!({
        "video_id": "v_1", "title": "A", "duration": 180.0, "fingerprint_count": 36,
        "processing_time_seconds": 45.2,
    });
    let page = json!({
        "video_id": "v_1", "title": "A", "duration": 180, "fingerprints_count": 36,
        "processing_time": 45.2,
    });
    read_as("video.processed", [page], named);
    // The quick start promises only a title.
    read_as(
        "video.processed",
        [json!({"title": "A"})],
        json!({"title": "A"}),
    );
    read_as(
        "video.processed",
        [json!({"id": 1})],
        json!({"video_id": 1}),
    );
    // If both names are present, the dispatcher's wins.
    let both = json!({
        "id": 1, "video_id": 2, "url": "a", "video_url": "b", "fingerprints_count": 3,
        "fingerprint_count": 4, "processing_time": 5, "processing_time_seconds": 6,
    });
    let its_own = json!({
        "video_id": 2, "video_url": "b", "fingerprint_count": 4, "processing_time_seconds": 6.0,
    });
    read_as("video.processed", [both], its_own);
    // The fingerprint count is never derived from a list of fingerprints.
    let fingerprints = json!([{"id": 2, "segment_index": 0, "start_time": 0.0, "end_time": 1.5}]);
    let listed = json!({"video_id": 1, "fingerprints": fingerprints});
    read_as(
        "video.processed",
        [json!({"id": 1, "fingerprints": fingerprints})],
        listed,
    );
}

#[test]
fn every_naming_scheme_of_a_match_is_read() {
    let listed = |id, start, end| {
        let only = json!({"video_id": id, "confidence": 0.5, "start_time": start, "end_time": end});
        json!({"query_id": "a", "matches": [only]})
    };
    let both = json!({
        "query_video_id": "b", "query_id": "a",
        "matches": [{
            "matched_video_id": 2, "video_id": 1, "confidence": 0.5, "segment_start": 4,
            "start_time": 3, "segment_end": 6, "end_time": 5,
        }],
    });
    read_as("match.found", [both], listed(1, 3.0, 5.0));
    let other = json!({
        "query_video_id": "a",
        "matches": [{
            "matched_video_id": 2, "confidence": 0.5, "segment_start": 4, "segment_end": 6,
        }],
    });
    read_as("match.found", [other], listed(2, 4.0, 6.0));
    // A list of matches takes precedence over a single match's fields in the payload itself, unless
    // the list is empty.
    let flat = |matches: Value| {
        json!({
            "query_id": "a", "match_id": 9, "matched_video_id": 2, "confidence": 0.5,
            "segment_start": 1, "segment_end": 2, "matches": matches,
        })
    };
    let list = json!([{"video_id": 1, "confidence": 0.5, "start_time": 3, "end_time": 4}]);
    read_as("match.found", [flat(list)], listed(1, 3.0, 4.0));
    let mut only = listed(2, 1.0, 2.0);
    only["matches"][0]["match_id"] = json!(9);
    read_as("match.found", [flat(json!([])), flat(Value::Null)], only);
    let none = json!({"query_id": "a", "matches": []});
    read_as("match.found", [none.clone()], none);
}

#[test]
fn numbers_come_as_integers_or_floats_and_a_quota_can_be_exceeded() {
    let fingerprint = |start: Value, end: Value| {
        json!({
            "id": "f", "video_id": "v", "segment_index": 0, "start_time": start, "end_time": end,
            "fingerprint_hash": "h",
        })
    };
    let integers = fingerprint(json!(0), json!(90));
    let floats = fingerprint(json!(0.0), json!(9e1));
    read_as("fingerprint.created", [integers, floats.clone()], floats);
    let quota = |percentage: Value| {
        json!({
            "period": "daily", "used": 10500, "limit": 10000, "remaining": -500,
            "percentage": percentage,
        })
    };
    read_as("quota.warning", [quota(json!(105))], quota(json!(105.0)));
}

#[test]
fn a_broken_timestamp_in_a_payload_is_absent() {
    let limit = json!({
        "user_id": 1, "limit_type": "t", "current_usage": 2, "limit_value": 3,
    });
    for broken in [
        json!("now"),
        json!(0),
        json!(true),
        json!([[1]]),
        json!({"a": 1}),
    ] {
        let mut payload = limit.clone();
        payload["reset_at"] = broken;
        read_as("api_limit.reached", [payload], limit.clone());
    }
}

#[test]
fn new_fields_are_ignored() {
    for (name, body) in captures() {
        let expected = Event::from_slice(&body).unwrap();
        let mut value: Value = serde_json::from_slice(&body).unwrap();
        value["new"] = json!({"deep": [1, {"id": null}]});
        if !matches!(expected.data, EventData::Unrecognized(_)) {
            value["data"]["new"] = json!([1.5, "text", {"id": 1}]);
        }
        assert_eq!(read(&value.to_string()), expected, "{name}");
    }
}
