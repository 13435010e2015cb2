//! What the operator is told, and what nobody may learn from it.

use axum::{Router, body::Body, routing::post};
use http::{Request, StatusCode};
use soundhash_webhook::{Event, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer};
use tower::ServiceExt;

const KEY: &str = "whsec_0nly-f0r-us";
const OLD_KEY: &str = "whsec_0nly-before";

fn app() -> Router {
    let layer = SoundHashWebhookLayer::new(KEY)
        .previous_secret(OLD_KEY)
        .max_body_size(4096);
    Router::new()
        .route("/", post(|_: Event| async { StatusCode::OK }))
        .layer(layer)
        .route("/open", post(|_: Event| async { StatusCode::OK }))
}

fn request(uri: &str, signature: &str, body: &str) -> Request<Body> {
    Request::post(uri)
        .header(SIGNATURE_HEADER, signature)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

async fn send(app: &Router, request: Request<Body>) -> u16 {
    app.clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// Delivers a body that was signed with that key.
async fn deliver(app: &Router, key: &str, body: &str) -> u16 {
    let signature = Secret::new(key).sign(body.as_bytes()).to_string();
    send(app, request("/", &signature, body)).await
}

fn event(event_type: &str, data: &str) -> String {
    format!(r#"{{"type":"{event_type}","id":"evt_1","data":{data}}}"#)
}

const VIDEO: &str = r#"{"video_id":1,"title":"hidden-title"}"#;

/// Everything that can be refused by its head or its body alone.
fn refused() -> Vec<(Request<Body>, &'static str)> {
    let body = event("video.processed", VIDEO);
    let large = format!("{body}{}", " ".repeat(5000));
    let wrong = Secret::new("other").sign(body.as_bytes()).to_string();
    let mut without = request("/", &wrong, &body);
    without.headers_mut().remove(SIGNATURE_HEADER);
    let mut several = request("/", &wrong, &body);
    let value = several.headers()[SIGNATURE_HEADER].clone();
    several.headers_mut().append(SIGNATURE_HEADER, value);
    vec![
        (without, "missing_signature"),
        (several, "several_signatures"),
        (request("/", "sha256=0", &body), "malformed_signature"),
        (request("/", &wrong, &body), "wrong_signature"),
        (request("/", &wrong, &large), "body_too_large"),
    ]
}

#[cfg(feature = "tracing")]
mod logged {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use soundhash_webhook::{
        Delivery, EventKind, EventRouter, MatchFound, Payload, PayloadRejection, VideoProcessed,
    };
    use tracing::{Level, subscriber::DefaultGuard};

    use super::*;

    /// All lines up to that level, of this thread.
    struct Log(Arc<Mutex<Vec<u8>>>, #[expect(dead_code)] DefaultGuard);

    impl Log {
        fn up_to(level: Level) -> Self {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let sink = Sink(lines.clone());
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(level)
                .with_ansi(false)
                .without_time()
                .with_writer(move || sink.clone())
                .finish();
            Self(lines, tracing::subscriber::set_default(subscriber))
        }

        fn take(&self) -> String {
            let lines = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(lines).unwrap()
        }
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_verified_delivery_is_one_line_at_debug() {
        let (log, app) = (Log::up_to(Level::DEBUG), app());
        let body = event("video.processed", VIDEO);
        assert_eq!(deliver(&app, OLD_KEY, &body).await, 200);
        let lines = log.take();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let expected = format!(
            "DEBUG soundhash_webhook: webhook verified event_type=\"video.processed\" \
             id=\"evt_1\" bytes={} matched_secret=1 waited=",
            body.len()
        );
        assert!(lines.trim_start().starts_with(&expected), "{lines}");
        assert!(lines.contains(" hashed="), "{lines}");

        // As long as its sender likes, but not here.
        let body = event(&"x".repeat(1000), "{}");
        assert_eq!(deliver(&app, KEY, &body).await, 200);
        let lines = log.take();
        assert!(lines.lines().all(|line| line.len() < 300), "{lines}");
    }

    #[tokio::test]
    async fn nothing_is_said_of_it_at_info() {
        let (log, app) = (Log::up_to(Level::INFO), app());
        let body = event("video.processed", VIDEO);
        assert_eq!(deliver(&app, KEY, &body).await, 200);
        assert_eq!(log.take(), "");
    }

    /// Attack: fill the disk, or page the operator, with requests that anybody can send.
    #[tokio::test]
    async fn a_refused_request_is_not_heard_above_debug() {
        let (log, app) = (Log::up_to(Level::INFO), app());
        for (request, _) in refused() {
            assert!([401, 413].contains(&send(&app, request).await));
        }
        assert_eq!(log.take(), "");
    }

    #[tokio::test]
    async fn a_refusal_is_one_line_with_its_reason() {
        let (log, app) = (Log::up_to(Level::DEBUG), app());
        for (request, reason) in refused() {
            send(&app, request).await;
            let lines = log.take();
            assert_eq!(lines.lines().count(), 1, "{lines}");
            let start = "DEBUG soundhash_webhook: webhook refused: ";
            assert!(lines.trim_start().starts_with(start), "{lines}");
            assert!(lines.contains(&format!("reason=\"{reason}\"")), "{lines}");
        }
    }

    /// The reason why a payload does not fit quotes from it, so it is not logged.
    #[tokio::test]
    async fn what_costs_an_authentic_delivery_is_a_warning() {
        let (log, app) = (Log::up_to(Level::INFO), app());
        for (body, status, expected) in [
            (
                event("video.processed", r#"["hidden"]"#),
                200,
                " WARN soundhash_webhook: webhook event not recognized: \
                 its payload does not fit event_type=\"video.processed\"\n",
            ),
            (
                event("made.up\\n", r#"{"a":"hidden"}"#),
                200,
                " WARN soundhash_webhook: webhook event not recognized: \
                 its type is unknown event_type=\"made.up\\n\"\n",
            ),
            (
                r#"["hidden"]"#.to_owned(),
                422,
                " WARN soundhash_webhook: webhook body is not an event \
                 error=body is JSON, but not an object\n",
            ),
        ] {
            assert_eq!(deliver(&app, KEY, &body).await, status);
            assert_eq!(log.take(), expected);
        }
        assert_eq!(send(&app, request("/open", "", "")).await, 500);
        let lines = log.take();
        assert!(
            lines.starts_with("ERROR soundhash_webhook: no SoundHashWebhookLayer"),
            "{lines}"
        );
    }

    #[tokio::test]
    async fn what_a_router_or_a_payload_does_not_take_is_told_once() {
        let processed = || {
            EventRouter::new().on(
                EventKind::VideoProcessed,
                |_: Payload<VideoProcessed>| async {},
            )
        };
        let with_fallback = processed().fallback(|_: Event| async {});
        let keeping = processed().fallback(|_: Delivery| async {});
        let misfit = event("video.processed", r#"["hidden"]"#);
        let unknown = event("made.up", r#"{"a":"hidden"}"#);
        let no_event = "[\"hidden\"]".to_owned();
        let does_not_fit = " WARN soundhash_webhook: webhook event not recognized: \
             its payload does not fit event_type=\"video.processed\"\n";
        let is_unknown = " WARN soundhash_webhook: webhook event not recognized: \
             its type is unknown event_type=\"made.up\"\n";
        let is_none = " WARN soundhash_webhook: webhook body is not an event \
             error=body is JSON, but not an object\n";
        let another = " WARN soundhash_webhook: webhook event is of another type than its \
             handler takes event_type=\"video.processed\" expected=\"match.found\"\n";
        let log = Log::up_to(Level::INFO);
        for (route, body, status, expected) in [
            (post(processed()), &misfit, 200, does_not_fit),
            (post(processed()), &unknown, 200, is_unknown),
            (post(processed()), &no_event, 422, is_none),
            (post(processed()), &event("match.found", "1"), 200, ""),
            (post(with_fallback.clone()), &misfit, 200, does_not_fit),
            (post(with_fallback.clone()), &unknown, 200, is_unknown),
            (post(with_fallback), &no_event, 422, is_none),
            // Also where the fallback has no extractor that would notice.
            (post(keeping.clone()), &misfit, 200, does_not_fit),
            (post(keeping.clone()), &unknown, 200, is_unknown),
            (post(keeping), &no_event, 200, is_none),
            (
                post(|_: Event, _: Result<Payload<VideoProcessed>, PayloadRejection>| async {}),
                &misfit,
                200,
                does_not_fit,
            ),
            (
                post(|_: Payload<VideoProcessed>| async {}),
                &misfit,
                422,
                does_not_fit,
            ),
            (
                post(|_: Payload<MatchFound>| async {}),
                &event("video.processed", VIDEO),
                422,
                another,
            ),
        ] {
            let app = Router::new()
                .route("/", route)
                .layer(SoundHashWebhookLayer::new(KEY));
            assert_eq!(deliver(&app, KEY, body).await, status);
            assert_eq!(log.take(), expected);
        }
    }

    /// Attack: read a secret, a customer's data, or a delivery to send again, out of the log.
    #[tokio::test]
    async fn no_secret_signature_or_payload_is_logged_at_any_level() {
        let (log, app) = (Log::up_to(Level::TRACE), app());
        let bodies = [
            event("video.processed", VIDEO),
            event(
                "video.processed",
                r#"{"video_id":"hidden","title":["hidden"]}"#,
            ),
            event("match.found", r#"{"matches":"hidden"}"#),
            event("quota.warning", r#"{"used":"hidden"}"#),
            event("made.up", r#"{"a":"hidden"}"#),
            r#""hidden""#.to_owned(),
            "hidden".to_owned(),
            r#"{"event":"video.processed","data":{"title":"hidden"#.to_owned(),
        ];
        for body in bodies {
            for key in [KEY, OLD_KEY, "other"] {
                deliver(&app, key, &body).await;
                let lines = log.take();
                assert!(!lines.is_empty());
                let signature = Secret::new(key).sign(body.as_bytes()).to_string();
                for secret in ["0nly", "hidden", &signature[..8]] {
                    assert!(!lines.contains(secret), "{lines}");
                }
            }
        }
    }
}

#[cfg(feature = "metrics")]
pub(crate) mod counted {
    use metrics_util::{
        MetricKind,
        debugging::{DebugValue, DebuggingRecorder},
    };
    use soundhash_webhook::EventKind;

    use super::*;
    use crate::process::{Receiver, send as run_send};

    /// Everything that was recorded, as `name{label="value"}` and the values.
    pub(crate) fn recorded(recorder: &DebuggingRecorder) -> Vec<(String, Vec<f64>)> {
        let snapshot = recorder.snapshotter().snapshot().into_vec();
        let mut all: Vec<_> = snapshot
            .into_iter()
            .map(|(key, _, _, value)| {
                let labels: Vec<String> = key
                    .key()
                    .labels()
                    .map(|label| format!("{}={}", label.key(), label.value()))
                    .collect();
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
        let body = event("video.processed", VIDEO);
        deliver(&app, KEY, &body).await;
        deliver(&app, OLD_KEY, &body).await;
        deliver(&app, KEY, &event("match.found", "[]")).await;
        deliver(&app, KEY, "[]").await;

        let all = recorded(&recorder);
        let deliveries = |event_type: &str| {
            let name = "soundhash_webhook_deliveries_total";
            value(
                &all,
                &format!("{name}{{outcome=accepted,event_type={event_type}}}"),
            )
        };
        assert_eq!(deliveries("video.processed"), [2.0]);
        assert_eq!(deliveries("match.found"), [1.0]);
        assert_eq!(deliveries("none"), [1.0]);
        let matched = |index| {
            value(
                &all,
                &format!("soundhash_webhook_matched_secret_total{{index={index}}}"),
            )
        };
        assert_eq!(matched(0), [3.0]);
        assert_eq!(matched(1), [1.0]);
        let unrecognized = "soundhash_webhook_unrecognized_total{event_type=match.found}";
        assert_eq!(value(&all, unrecognized), [1.0]);
        let bytes = value(&all, "soundhash_webhook_body_bytes{}");
        assert_eq!(bytes[0], f64::from(u32::try_from(body.len()).unwrap()));
        assert_eq!(bytes.len(), 4);
        for name in ["verification", "body_wait"] {
            let seconds = value(&all, &format!("soundhash_webhook_{name}_seconds{{}}"));
            assert_eq!(seconds.len(), 4);
            assert!(seconds.iter().all(|second| (0.0..30.0).contains(second)));
        }
        assert_eq!(all.len(), 9, "{all:#?}");
    }

    #[tokio::test]
    async fn refusals_are_counted_by_reason_and_nothing_else_is_said_of_them() {
        let recorder = DebuggingRecorder::new();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let app = app();
        let mut expected: Vec<(String, Vec<f64>)> = Vec::new();
        for (request, reason) in refused() {
            send(&app, request).await;
            let labels = format!("outcome={reason},event_type=none");
            let name = format!("soundhash_webhook_deliveries_total{{{labels}}}");
            expected.push((name, vec![1.0]));
        }
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(recorded(&recorder), expected);
    }

    /// Attack: a sender that is authentic, but makes up types, fills the memory of whatever
    /// keeps the time series.
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
        let url = example.url();
        let retries = ["--delivery-id", "evt_1", "--repeat", "3"];
        for events in [&["--all"][..], &retries] {
            let sent = run_send(&[&["--url", &url, "--secret", "whsec_test"], events].concat());
            assert!(sent.status.success(), "{sent:?}");
        }
        let sent = run_send(&["--url", &url, "--secret", "whsec_test", "--forge"]);
        assert_eq!(sent.status.code(), Some(1));

        let log = example.log();
        let line = log.lines().find(|line| line.contains("/metrics")).unwrap();
        let metrics = &line[line.find("http://").unwrap()..];
        let response = reqwest::get(metrics).await.unwrap();
        let content_type = response.headers()[http::header::CONTENT_TYPE].clone();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let text = response.text().await.unwrap();
        for line in [
            "# HELP soundhash_webhook_deliveries_total Requests that the layer decided on, by outcome (accepted, or why not) and type",
            "# TYPE soundhash_webhook_deliveries_total counter",
            r#"soundhash_webhook_deliveries_total{outcome="accepted",event_type="match.found"} 2"#,
            r#"soundhash_webhook_deliveries_total{outcome="wrong_signature",event_type="none"} 1"#,
            r#"soundhash_webhook_matched_secret_total{index="0"} 27"#,
            "# TYPE soundhash_webhook_body_bytes histogram",
            r#"soundhash_webhook_body_bytes_bucket{le="1048576"} 27"#,
            "soundhash_webhook_verification_seconds_count 27",
            r#"soundhash_webhook_body_wait_seconds_bucket{le="+Inf"} 27"#,
            r#"soundhash_webhook_not_acted_on_total{reason="duplicate"} 2"#,
            "# TYPE soundhash_webhook_store_seconds histogram",
            r#"soundhash_webhook_store_seconds_count{operation="claim"} 27"#,
            r#"soundhash_webhook_store_seconds_count{operation="complete"} 25"#,
            // What should never rise is there before it does.
            "soundhash_webhook_lease_lost_total 0",
            r#"soundhash_webhook_not_recorded_total{operation="complete"} 0"#,
            r#"soundhash_webhook_store_errors_total{operation="claim"} 0"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} not in\n{text}");
        }
    }
}
