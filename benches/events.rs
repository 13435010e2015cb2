//! `cargo bench -p soundhash-webhook-benches --bench events`
//!
//! Measures the time to parse an event, as a ratio to parsing the same bytes as plain JSON.

mod common;

use criterion::Criterion;
use serde_json::Value;
use soundhash_webhook::Event;
use soundhash_webhook_tests::captures;

use crate::common::nanoseconds;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, body) in captures::bodies() {
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
    for (name, body) in captures::bodies() {
        if let (Some(event), Some(value)) =
            (nanoseconds("event", &name), nanoseconds("value", &name))
        {
            let (bytes, ratio) = (body.len(), event / value);
            println!("| {name} | {bytes} | {event:.0} | {value:.0} | {ratio:.2} |");
        }
    }
}
