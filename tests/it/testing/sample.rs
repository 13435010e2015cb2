//! Sample events in the formats of SoundHash's senders.

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use soundhash_webhook::{
    Event, EventData, EventKind, Sender,
    testing::{fresh_sample, sample},
};

const BOTH: [Sender; 2] = [Sender::Portal, Sender::Dispatcher];

#[test]
fn every_sample_has_its_type_a_time_and_a_unique_id() {
    let mut ids = HashSet::new();
    for &kind in EventKind::ALL {
        for sender in BOTH {
            let event = Event::from_slice(&sender.to_bytes(&sample(kind, sender))).unwrap();
            assert_eq!(event.kind(), Some(kind));
            let recognized = !matches!(event.data, EventData::Unrecognized(_));
            assert!(recognized && event.created_at.is_some(), "{event:?}");
            assert!(!event.is_test());
            assert!(ids.insert(event.id.unwrap()), "{kind} {sender}");
        }
        let value = sample(kind, Sender::Dispatcher);
        assert_eq!(value["id"].as_str().map(str::len), Some(22));
        assert_eq!(value["created_at"], "2026-11-23T08:56:12.681555+00:00Z");
    }
}

#[test]
fn bytes_are_laid_out_as_the_sender_does() {
    let value = json!({"a": ["é🎵", 1.5, {}, "\n\u{7f}"], "b": []});
    let written = |sender: Sender| String::from_utf8(sender.to_bytes(&value)).unwrap();
    assert_eq!(
        written(Sender::Dispatcher),
        r#"{"a": ["\u00e9\ud83c\udfb5", 1.5, {}, "\n\u007f"], "b": []}"#
    );
    assert_eq!(
        written(Sender::Portal),
        "{\n  \"a\": [\n    \"\\u00e9\\ud83c\\udfb5\",\n    1.5,\n    {},\n    \"\\n\\u007f\"\n  ],\n  \"b\": []\n}"
    );
}

#[test]
fn ids_and_times_of_fresh_samples_are_new_and_as_the_sender_writes_them() {
    let mut ids = HashSet::new();
    for _ in 0..1000 {
        let event = fresh_sample(EventKind::MatchFound, Sender::Dispatcher);
        let id = event["id"].as_str().unwrap();
        assert!(id.len() == 22 && ids.insert(id.to_owned()), "{id}");
        assert!(event["created_at"].as_str().unwrap().ends_with("+00:00Z"));

        let event = fresh_sample(EventKind::MatchFound, Sender::Portal);
        let id = event["delivery_id"].as_str().unwrap();
        assert!(id.starts_with("del_") && ids.insert(id.to_owned()), "{id}");
        assert!(event["timestamp"].as_str().unwrap().ends_with("+00:00"));
    }
    for sender in BOTH {
        let event = fresh_sample(EventKind::MatchFound, sender);
        let event = Event::from_slice(&sender.to_bytes(&event)).unwrap();
        let time = std::time::SystemTime::from(event.created_at.unwrap());
        assert!(
            time.elapsed().unwrap() < Duration::from_secs(60),
            "{time:?}"
        );
    }
}
