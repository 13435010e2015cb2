//! Listing, reading, forgetting and purging recorded events.

use std::time::{Duration, SystemTime};

use soundhash_webhook::{
    Sender, Timestamp,
    idempotency::{IdempotencyStore, Key},
    testing::SignedRequest,
};
use soundhash_webhook_sqlx::{EventFilter, EventLog, Recorded, SqlxStore};

use crate::{
    fixture::{Fixture, SECRET, deliver, delivery, delivery_of, event, log, record},
    on_both,
};

on_both!(
    a_recorded_event_is_kept_byte_for_byte,
    an_event_has_a_type_even_if_its_payload_cannot_be_parsed,
    ids_types_and_endpoints_can_contain_any_character,
    events_are_listed_page_by_page,
    a_forgotten_event_is_new_again_and_its_body_is_kept,
    purge_deletes_old_events_in_batches,
    logs_in_two_tables_are_kept_apart,
);

/// Even bodies that only Python can parse must be kept unchanged.
async fn a_recorded_event_is_kept_byte_for_byte<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    let letters = serde_json::json!({"id": 1, "type": "a", "data": "x".repeat(100_000)});
    let bodies: [&[u8]; 5] = [
        br#"{"id":"nan","type":"match.found","data":{"confidence":NaN,"segment_end":-Infinity}}"#,
        br#"{"id":"half","type":"video.processed","data":{"title":"\ud83c"}}"#,
        b"{\"id\": \"zero\",  \"type\":\"x\",\"data\":\"\\u0000\",\"unknown\":[1e999]}\n",
        &[0, 159, 146, 150, 255],
        letters.to_string().leak().as_bytes(),
    ];
    for body in bodies {
        let delivery = delivery_of(body).await;
        assert_eq!(record(&log, &delivery).await.unwrap(), Recorded::New);
        let kept = log
            .get(&Key::from(&delivery))
            .await
            .unwrap()
            .expect("the event");
        assert_eq!(kept.body, body);
        assert_eq!(kept.summary.body_len, body.len() as u64);
        assert_eq!(kept.event().as_ref(), delivery.event());
        let event_type = delivery
            .event()
            .ok()
            .map(soundhash_webhook::Event::event_type);
        assert_eq!(kept.summary.event_type.as_deref(), event_type);
    }
    // The long body is compressed.
    let count = "INSERT INTO acted SELECT event_key FROM soundhash_events
        WHERE length(body) < 1000 AND uncompressed_len > 100000";
    DB::run(&pool, count).await.unwrap();
    assert_eq!(DB::acted(&pool).await.len(), 1);
}

async fn an_event_has_a_type_even_if_its_payload_cannot_be_parsed<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let deep = "[".repeat(200) + &"]".repeat(200);
    let body = format!(r#"{{"id": "deep", "type": "match.found", "data": {deep}}}"#);
    let delivery = delivery_of(body).await;
    assert!(delivery.event().is_err());
    assert_eq!(record(&log, &delivery).await.unwrap(), Recorded::New);
    let filter = EventFilter::new().event_type("match.found");
    assert_eq!(log.list(&filter).await.unwrap().len(), 1);
}

async fn ids_types_and_endpoints_can_contain_any_character<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let texts = [
        "\0",
        "\\",
        "\\0",
        "\\\0",
        "\\\\0",
        "a\0b\\c",
        "é\\0\0",
        "%_'\";--",
        "\u{1f512}",
        "a ",
    ];
    for text in texts {
        let body = serde_json::json!({"id": text, "type": text, "data": {}});
        let request = SignedRequest::new(SECRET).body(body.to_string()).build();
        let delivery = deliver(request, Some(text)).await;
        assert_eq!(
            record(&log, &delivery).await.unwrap(),
            Recorded::New,
            "{text:?}"
        );
        assert_eq!(
            record(&log, &delivery).await.unwrap(),
            Recorded::Duplicate,
            "{text:?}"
        );
        let filter = EventFilter::new().event_type(text).endpoint(text);
        let found = log.list(&filter).await.unwrap();
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(found[0].key, Key::from(&delivery));
        assert_eq!(found[0].event_type.as_deref(), Some(text));
        assert_eq!(found[0].endpoint.as_deref(), Some(text));
    }
    // A type can be as long as a body, and thus too long for an index.
    let body = serde_json::json!({"id": "long", "type": "x".repeat(100_000), "data": {}});
    assert_eq!(
        record(&log, &delivery_of(body.to_string()).await)
            .await
            .unwrap(),
        Recorded::New
    );
}

async fn events_are_listed_page_by_page<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let start = SystemTime::now() - Duration::from_mins(1);
    for id in 0..25 {
        let mut event = event(&format!("{id:02}"));
        if id % 5 == 0 {
            event["type"] = "match.found".into();
        }
        let request = SignedRequest::new(SECRET).event(Sender::Dispatcher, &event);
        let _ = record(&log, &deliver(request.build(), None).await)
            .await
            .unwrap();
    }
    let created: Timestamp = "2026-11-23T08:56:12.681555Z".parse().unwrap();
    let mut filter = EventFilter::new().since(start).limit(10);
    let mut keys = Vec::new();
    loop {
        let page = log.list(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter = filter.after(last);
        for event in page {
            assert_eq!(event.created_at, Some(created));
            assert!(event.received_at > start);
            keys.push(event.key);
        }
    }
    let mut sorted = keys.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(keys.len(), 25);
    assert_eq!(keys, sorted, "not the latest first");

    for (filter, count) in [
        (EventFilter::new().event_type("match.found"), 5),
        (EventFilter::new().before(start), 0),
        (EventFilter::new().endpoint("acme"), 0),
    ] {
        assert_eq!(log.list(&filter).await.unwrap().len(), count, "{filter:?}");
    }
}

async fn a_forgotten_event_is_new_again_and_its_body_is_kept<DB: Fixture>() {
    let (_database, _pool, log) = log::<DB>().await;
    let delivery = delivery("a").await;
    let key = Key::from(&delivery);
    assert!(!log.forget(&key).await.unwrap());
    let _ = record(&log, &delivery).await.unwrap();
    assert!(log.forget(&key).await.unwrap());
    assert!(!log.forget(&key).await.unwrap());

    let kept = log.get(&key).await.unwrap().expect("the event");
    assert!(kept.summary.is_forgotten);
    assert_eq!(kept.body, delivery.body());
    let _ = record(&log, &crate::fixture::delivery("b").await)
        .await
        .unwrap();
    let forgotten = EventFilter::new().forgotten();
    let found = log.list(&forgotten).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, key);

    assert_eq!(record(&log, &delivery).await.unwrap(), Recorded::New);
    assert_eq!(record(&log, &delivery).await.unwrap(), Recorded::Duplicate);
    assert!(log.list(&forgotten).await.unwrap().is_empty());
    let again = log.get(&key).await.unwrap().expect("the event").summary;
    assert!(!again.is_forgotten);
    // A time filter must still select the same events after they have run again.
    assert_eq!(again.received_at, kept.summary.received_at);
}

async fn purge_deletes_old_events_in_batches<DB: Fixture>() {
    let (_database, pool, log) = log::<DB>().await;
    // These rows fill more than two batches, and are older than all other events.
    let fill = "INSERT INTO soundhash_events (event_key, recorded, received_at, body) \
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4500) ";
    let fill = match DB::NAME {
        "PostgreSQL" => format!("{fill} SELECT i::text, TRUE, timestamptz 'epoch', 'x' FROM n"),
        _ => format!("{fill} SELECT i, TRUE, 1000000, 'x' FROM n"),
    };
    DB::run(&pool, fill.leak()).await.unwrap();
    let _ = record(&log, &delivery("a").await).await.unwrap();
    let store = SqlxStore::new(log.clone());
    let claim = |name: &'static str, lease| {
        let store = store.clone();
        async move { store.claim(&Key::new(name), lease).await.unwrap() }
    };
    claim("expired", Duration::from_nanos(1)).await;
    claim("claimed", Duration::from_hours(1)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    let yesterday = SystemTime::now() - Duration::from_hours(24);
    assert_eq!(log.purge(yesterday).await.unwrap(), 4501);
    assert_eq!(log.purge(yesterday).await.unwrap(), 0);
    assert_eq!(
        record(&log, &delivery("a").await).await.unwrap(),
        Recorded::Duplicate
    );
    assert_eq!(
        claim("claimed", Duration::from_secs(1)).await,
        soundhash_webhook::idempotency::Claim::InProgress
    );
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    assert_eq!(log.purge(tomorrow).await.unwrap(), 1);
    assert_eq!(
        record(&log, &delivery("a").await).await.unwrap(),
        Recorded::New
    );
}

async fn logs_in_two_tables_are_kept_apart<DB: Fixture>() {
    let (_database, pool, first) = log::<DB>().await;
    let second = EventLog::new(pool).table("Second_log").unwrap();
    second.migrate().await.unwrap();
    let delivery = delivery("a").await;
    assert_eq!(record(&first, &delivery).await.unwrap(), Recorded::New);
    assert_eq!(record(&second, &delivery).await.unwrap(), Recorded::New);
    assert_eq!(
        record(&second, &delivery).await.unwrap(),
        Recorded::Duplicate
    );
}
