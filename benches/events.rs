//! `cargo bench -p soundhash-webhook-benches --bench events`
//!
//! Measures the time to parse an event, as a ratio to parsing the same bytes as plain JSON.

mod common;

use bytes::Bytes;
use criterion::Criterion;
use serde_json::{Value, json};
use soundhash_webhook::Event;
use soundhash_webhook_tests::captures;

use crate::common::nanoseconds;

/// Returns the recorded bodies, and two of the largest that SoundHash can send.
fn bodies() -> Vec<(String, Bytes)> {
    let mut bodies: Vec<_> = captures::bodies().into_iter().collect();
    let title = "x".repeat(1_000_000);
    let matches = vec![
        json!({
            "video_id": 123, "title": "Matched Video", "confidence": 0.95,
            "start_time": 45, "end_time": 60, "similarity_score": 0.94,
        });
        5000
    ];
    let mut push = |name: &str, event_type: &str, data: Value| {
        // The senders write the type before the payload.
        let body = format!(r#"{{"event": "{event_type}", "data": {data}}}"#);
        bodies.push((name.to_owned(), body.into()));
    };
    push("title of 1 MB", "video.processed", json!({"title": title}));
    push(
        "5000 matches",
        "match.found",
        json!({"query_id": "q", "matches": matches}),
    );
    bodies
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, body) in bodies() {
        let mut group = criterion.benchmark_group("event");
        group.bench_function(&name, |bencher| {
            bencher.iter(|| Event::from_slice(&body));
        });
        group.finish();
        let mut group = criterion.benchmark_group("value");
        group.bench_function(&name, |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(&body));
        });
        group.finish();
    }
    criterion.final_summary();
    println!("\n| capture | bytes | `Event` ns | `Value` ns | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, body) in bodies() {
        if let (Some(event), Some(value)) =
            (nanoseconds("event", &name), nanoseconds("value", &name))
        {
            let (bytes, ratio) = (body.len(), event / value);
            println!("| {name} | {bytes} | {event:.0} | {value:.0} | {ratio:.2} |");
        }
    }
}
