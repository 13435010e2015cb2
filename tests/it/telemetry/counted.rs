//! The counters and histograms, and the limits on a sender's influence over their labels.

use std::{collections::HashSet, net::TcpListener, process::Command, time::Duration};

use axum::{Router, routing::post};
use http::{Method, StatusCode};
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use soundhash_webhook::{
    Event, EventKind, Secret, Sender, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
    testing::sample,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};
use tower::ServiceBuilder;

use super::{KEY, OLD_KEY, VIDEO, app, deliver, event, rejected, send, signed, test_event, video};
use crate::{
    process::{Receiver, example, exchange, response_head, status},
    support::{BODY, head, sign, signed_bytes},
};

/// Returns all recorded metrics as `name{label="value"}` with their values. Counters that are zero
/// are omitted, because they are initialized only by the first test in the process.
pub(crate) fn recorded(recorder: &DebuggingRecorder) -> Vec<(String, Vec<f64>)> {
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let mut all: Vec<_> = snapshot
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels = key.key().labels();
            let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
            let labels: Vec<String> = labels.collect();
            let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
            let values = match value {
                DebugValue::Counter(count) => {
                    assert_eq!(key.kind(), MetricKind::Counter);
                    vec![f64::from(u32::try_from(count).unwrap())]
                }
                DebugValue::Histogram(values) => values.into_iter().map(Into::into).collect(),
                DebugValue::Gauge(_) => panic!("a gauge"),
            };
            (name, values)
        })
        .filter(|(name, values)| !name.contains("_total{") || values[0] > 0.0)
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[track_caller]
fn value<'a>(all: &'a [(String, Vec<f64>)], name: &str) -> &'a [f64] {
    match all.iter().find(|(key, _)| key == name) {
        Some((_, values)) => values,
        None => panic!("no {name} in {all:#?}"),
    }
}

#[tokio::test]
#[expect(clippy::float_cmp, reason = "whole numbers")]
async fn deliveries_are_counted_by_type_and_secret_and_measured() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app();
    let body = video();
    deliver(&app, KEY, &body).await;
    deliver(&app, OLD_KEY, &body).await;
    deliver(&app, KEY, &event("match.found", "[]")).await;
    deliver(&app, KEY, "[]").await;
    let labeled = Secret::new(KEY).label("2026-11");
    let labeled = SoundHashWebhookLayer::new("new").previous_secret(labeled);
    let labeled = Router::new()
        .route("/", post(|_: Event| async {}))
        .layer(labeled);
    deliver(&labeled, KEY, &body).await;

    let all = recorded(&recorder);
    let deliveries = |event_type: &str| {
        let labels = format!("{{outcome=accepted,event_type={event_type}}}");
        value(&all, &format!("soundhash_webhook_deliveries_total{labels}"))
    };
    assert_eq!(deliveries("video.processed"), [3.0]);
    assert_eq!(deliveries("match.found"), [1.0]);
    assert_eq!(deliveries("none"), [1.0]);
    let matched = |secret: &str| {
        let name = "soundhash_webhook_matched_secret_total";
        value(&all, &format!("{name}{{secret={secret}}}"))
    };
    assert_eq!(matched("0"), [3.0]);
    assert_eq!(matched("1"), [1.0]);
    assert_eq!(matched("2026-11"), [1.0]);
    let unrecognized = "soundhash_webhook_unrecognized_total{event_type=match.found}";
    assert_eq!(value(&all, unrecognized), [1.0]);
    let bytes = value(&all, "soundhash_webhook_body_bytes{}");
    assert_eq!(bytes[0], f64::from(u32::try_from(body.len()).unwrap()));
    assert_eq!(bytes.len(), 5);
    for name in ["verification", "body_wait"] {
        let seconds = value(&all, &format!("soundhash_webhook_{name}_seconds{{}}"));
        assert_eq!(seconds.len(), 5);
        assert!(seconds.iter().all(|second| (0.0..30.0).contains(second)));
    }
    assert_eq!(all.len(), 10, "{all:#?}");
}

#[tokio::test]
async fn rejections_are_counted_by_reason_and_nothing_else_is_recorded() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app();
    let mut expected: Vec<(String, Vec<f64>)> = Vec::new();
    for (request, reason) in rejected() {
        send(&app, request).await;
        let labels = format!("outcome={reason},event_type=none");
        let name = format!("soundhash_webhook_deliveries_total{{{labels}}}");
        expected.push((name, vec![1.0]));
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(recorded(&recorder), expected);
}

/// An alert on a counter's increase misses the event that first creates the counter.
#[tokio::test]
async fn every_counter_starts_at_zero_when_the_layers_are_created() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let counters = || -> HashSet<_> {
        let snapshot = recorder.snapshotter().snapshot().into_vec();
        let keys = snapshot.into_iter().map(|(key, ..)| key);
        // A provider's secrets can have arbitrary labels, so the counter for matched secrets is
        // left out.
        let keys = keys.filter(|key| key.kind() == MetricKind::Counter);
        keys.filter(|key| !key.key().name().contains("matched_secret"))
            .collect()
    };
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(KEY).max_body_size(4096))
        .layer(IdempotencyLayer::new(MemoryStore::new(99)));
    let handler = post(|_: Event| async {});
    let app = Router::new().route("/", handler).layer(layers);
    let before = counters();
    for (request, _) in rejected() {
        send(&app, request).await;
    }
    deliver(&app, KEY, "[]").await;
    let kinds = EventKind::ALL.iter().map(|kind| kind.as_str());
    for kind in kinds.chain(["made.up"]) {
        for data in ["[]", r#"{"new": 1}"#] {
            let body = format!(r#"{{"type":"{kind}","data":{data}}}"#);
            // The second delivery is a duplicate.
            deliver(&app, KEY, &body).await;
            deliver(&app, KEY, &body).await;
        }
    }
    let late: Vec<_> = counters().difference(&before).cloned().collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(start_paused = true)]
async fn handlers_that_are_canceled_are_counted_once() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let name = "soundhash_webhook_handlers_canceled_total{}";
    let slow = post(|| sleep(Duration::from_secs(60)));
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(KEY))
        .layer(IdempotencyLayer::new(MemoryStore::new(9)));
    let app = Router::new().route("/", slow).layer(layers);
    let canceled = || timeout(Duration::from_secs(30), deliver(&app, KEY, VIDEO));
    assert!(canceled().await.is_err());
    assert!(canceled().await.is_err());
    assert_eq!(value(&recorded(&recorder), name), [2.0]);
    assert_eq!(deliver(&app, KEY, VIDEO).await, 200);
    assert!(recorded(&recorder).iter().all(|(it, _)| it != name));
}

#[tokio::test]
async fn handlers_that_fail_are_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let name = "soundhash_webhook_handlers_failed_total{}";
    let failing = post(|_: Event| async { StatusCode::INTERNAL_SERVER_ERROR });
    let panicking = post(async || -> StatusCode { panic!("on purpose") });
    let app = Router::new()
        .route("/", failing)
        .route("/panicking", panicking)
        .layer(SoundHashWebhookLayer::new(KEY));
    for (body, status) in [(&*video(), 500), (&*video(), 500), ("[]", 422)] {
        assert_eq!(deliver(&app, KEY, body).await, status);
    }
    // Attack: send a recorded delivery with another method, or to another path.
    let mut put = signed(KEY, &video());
    *put.method_mut() = Method::PUT;
    assert_eq!(send(&app, put).await, 405);
    let mut elsewhere = signed(KEY, &video());
    *elsewhere.uri_mut() = "/elsewhere".parse().unwrap();
    assert_eq!(send(&app, elsewhere).await, 404);
    // Unparsable bodies are counted elsewhere.
    assert_eq!(value(&recorded(&recorder), name), [2.0]);
    let mut panicking = signed(KEY, &video());
    *panicking.uri_mut() = "/panicking".parse().unwrap();
    let sent = tokio::spawn(async move { send(&app, panicking).await });
    assert!(sent.await.unwrap_err().is_panic());
    assert_eq!(value(&recorded(&recorder), name), [1.0]);
}

/// The test button sends arbitrary types and payloads, which should not raise an alert.
#[tokio::test]
async fn test_deliveries_are_not_counted_as_unrecognized() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    for event_type in ["match.found", "made.up"] {
        assert_eq!(deliver(&app(), KEY, &test_event(event_type)).await, 200);
    }
    let all = recorded(&recorder);
    let mut names = all.iter().map(|(name, _)| name);
    assert!(names.all(|name| !name.contains("unrecognized")), "{all:#?}");
}

/// Attack: an authentic sender makes up types to exhaust the time series database's memory.
#[tokio::test]
async fn made_up_types_do_not_make_labels() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app();
    for i in 0..100 {
        deliver(&app, KEY, &event(&format!("made.up.{i}"), "{}")).await;
    }
    for &kind in EventKind::ALL {
        deliver(&app, KEY, &event(kind.as_str(), "{}")).await;
    }
    let all = recorded(&recorder);
    let other = "soundhash_webhook_deliveries_total{outcome=accepted,event_type=other}";
    assert_eq!(value(&all, other), [100.0]);
    let unrecognized = "soundhash_webhook_unrecognized_total{event_type=other}";
    assert_eq!(value(&all, unrecognized), [100.0]);
    assert!(all.len() <= 2 * (EventKind::ALL.len() + 1) + 4, "{all:#?}");
}

#[tokio::test]
async fn the_example_serves_them_to_prometheus() {
    let any_port = ("SOUNDHASH_WEBHOOK_METRICS_ADDR", "127.0.0.1:0");
    let mut example = Receiver::of("metrics", &[any_port]);
    let both = [Sender::Portal, Sender::Dispatcher];
    let samples = (EventKind::ALL.iter())
        .flat_map(|&kind| both.map(|sender| sender.to_bytes(&sample(kind, sender))));
    let retried = BODY.to_vec();
    for body in samples.chain([retried.clone(), retried.clone(), retried]) {
        let response = exchange(&example.addr, &signed_bytes(&body)).await;
        assert_eq!(status(&response), "200");
    }
    let forged = [head(&sign(b"other"), BODY.len()).as_bytes(), BODY].concat();
    assert_eq!(status(&exchange(&example.addr, &forged).await), "401");

    let log = example.log();
    let line = log.lines().find(|line| line.contains("/metrics")).unwrap();
    let metrics = &line[line.find("http://").unwrap()..];
    let response = reqwest::get(metrics).await.unwrap();
    let content_type = response.headers()[http::header::CONTENT_TYPE].clone();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "# HELP soundhash_webhook_deliveries_total Requests that the layer accepted or rejected, by outcome (accepted, or the reason) and event type",
        "# TYPE soundhash_webhook_deliveries_total counter",
        r#"soundhash_webhook_deliveries_total{outcome="accepted",event_type="match.found"} 2"#,
        r#"soundhash_webhook_deliveries_total{outcome="wrong_signature",event_type="none"} 1"#,
        r#"soundhash_webhook_matched_secret_total{secret="0"} 27"#,
        "# TYPE soundhash_webhook_body_bytes histogram",
        r#"soundhash_webhook_body_bytes_bucket{le="1048576"} 27"#,
        "soundhash_webhook_verification_seconds_count 27",
        r#"soundhash_webhook_body_wait_seconds_bucket{le="+Inf"} 27"#,
        r#"soundhash_webhook_handlers_skipped_total{reason="duplicate"} 2"#,
        "# TYPE soundhash_webhook_store_seconds histogram",
        r#"soundhash_webhook_store_seconds_count{operation="claim"} 27"#,
        r#"soundhash_webhook_store_seconds_count{operation="complete"} 25"#,
        // Failure counters exist before the first failure.
        "soundhash_webhook_handlers_canceled_total 0",
        "soundhash_webhook_handlers_failed_total 0",
        "soundhash_webhook_lease_lost_total 0",
        r#"soundhash_webhook_not_recorded_total{operation="complete"} 0"#,
        r#"soundhash_webhook_store_errors_total{operation="claim"} 0"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line} not in\n{text}");
    }
}

#[test]
fn the_example_names_the_address_that_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let started = Command::new(example("metrics"))
        .env("SOUNDHASH_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("SOUNDHASH_WEBHOOK_METRICS_ADDR", &taken)
        .output()
        .unwrap();
    let log = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(1), "{log}");
    let cause = format!("SOUNDHASH_WEBHOOK_METRICS_ADDR: cannot listen on \"{taken}\": ");
    assert!(log.contains(&cause), "{log}");
}

/// Attack: repeat a recorded delivery while nothing requests the metrics.
#[tokio::test]
async fn metrics_that_are_not_requested_do_not_grow() {
    let example = Receiver::of(
        "metrics",
        &[("SOUNDHASH_WEBHOOK_METRICS_ADDR", "127.0.0.1:0")],
    );
    let batch = signed_bytes(BODY).repeat(100);
    let mut stream = TcpStream::connect(&example.addr).await.unwrap();
    let mut resident = Vec::new();
    for _ in 0..3 {
        for _ in 0..100 {
            stream.write_all(&batch).await.unwrap();
            for _ in 0..100 {
                assert_eq!(status(&response_head(&mut stream).await), "200");
            }
        }
        // The example discards the samples every 5 s.
        sleep(Duration::from_secs(6)).await;
        resident.push(example.resident());
    }
    // Otherwise, the samples of 20,000 deliveries take more than 1 MiB.
    assert!(resident[2] < resident[0] + 512, "{resident:?} KiB");
}
