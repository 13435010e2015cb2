//! Log lines about authentic deliveries, and the span that identifies a delivery.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Json, Router,
    response::Redirect,
    routing::{MethodRouter, post},
};
use http::{HeaderValue, StatusCode, request};
use soundhash_webhook::{
    BoxError, Delivery, Event, EventKind, EventRouter, MatchFound, Payload, PayloadRejection,
    SecretProvider, Secrets, SoundHashWebhookLayer, VideoProcessed,
    idempotency::{IdempotencyLayer, IdempotencyStore, MemoryStore},
};
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt};
use tracing::{Instrument, Level, info, info_span};

use super::{
    KEY, OLD_KEY, SPAN, app, deliver, event,
    log::{Log, is_harmless, number},
    signed, test_event, video,
};
use crate::idempotency::support::{Ends, Faulty};

fn behind_both<St: IdempotencyStore>(layer: IdempotencyLayer<St>, handler: MethodRouter) -> Router {
    Router::new().route("/", handler).layer(
        ServiceBuilder::new()
            .layer(SoundHashWebhookLayer::new(KEY))
            .layer(layer),
    )
}

#[tokio::test]
async fn a_verified_delivery_is_one_line_at_debug() {
    let (log, app) = (Log::up_to(Level::DEBUG), app());
    assert_eq!(deliver(&app, OLD_KEY, &video()).await, 200);
    let line = log.line();
    let expected = format!(
        "DEBUG soundhash_webhook: webhook verified id=\"evt_1\" \
         event_type=\"video.processed\" bytes={} matched_secret=1 waited_ms=",
        video().len()
    );
    assert!(line.starts_with(&expected), "{line}");
    for name in ["waited_ms", "hashed_ms"] {
        let milliseconds: f64 = number(&line, name);
        assert!((0.0..30_000.0).contains(&milliseconds), "{line}");
    }
}

/// A provider that assigns every request to the same endpoint.
struct Acme;

impl SecretProvider for Acme {
    async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        Ok(Some(Secrets::new(KEY).endpoint("acme")))
    }
}

#[tokio::test]
async fn the_handler_runs_in_a_span_with_id_type_and_endpoint() {
    let log = Log::up_to(Level::INFO);
    let handler = post(|| async {
        info!("before");
        tokio::task::yield_now().await;
        info!("after");
    });
    let app = Router::new()
        .route("/", handler)
        .layer(SoundHashWebhookLayer::with_provider(Acme));
    // Headers are not signed, so they must not choose the parent span.
    let mut request = signed(KEY, &video());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parent = HeaderValue::from_static(parent);
    request.headers_mut().insert("traceparent", parent);
    let sent = app.oneshot(request).instrument(info_span!("outer"));
    assert_eq!(sent.await.unwrap().status(), StatusCode::OK);
    let span = "outer:soundhash_webhook.delivery{id=\"evt_1\" event_type=\"video.processed\" \
                endpoint=\"acme\"}: it::telemetry::deliveries: ";
    let expected = format!(" INFO {span}before\n INFO {span}after\n");
    assert_eq!(log.take(), expected);
}

#[tokio::test]
async fn the_span_is_there_at_every_level() {
    for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG] {
        let log = Log::up_to(level);
        let handler = post(|| async { tracing::error!("line") });
        let app = Router::new()
            .route("/", handler)
            .layer(SoundHashWebhookLayer::new(KEY));
        assert_eq!(deliver(&app, KEY, &video()).await, 200);
        let lines = log.take();
        assert!(lines.contains(&format!("ERROR {SPAN}it::")), "{lines}");
    }
}

#[tokio::test]
async fn a_duplicate_is_an_info_line() {
    let log = Log::up_to(Level::INFO);
    let app = behind_both(
        IdempotencyLayer::new(MemoryStore::new(9)),
        post(|| async {}),
    );
    assert_eq!(deliver(&app, KEY, &video()).await, 200);
    assert_eq!(log.take(), "");
    for _ in 0..2 {
        assert_eq!(deliver(&app, KEY, &video()).await, 200);
        let handled = "webhook already handled: the event was completed before, so the handler \
                       was not called reason=\"duplicate\"";
        assert_eq!(
            log.line(),
            format!("INFO {SPAN}soundhash_webhook: {handled}")
        );
    }
}

#[tokio::test]
async fn a_test_delivery_that_does_not_fit_is_not_a_warning() {
    let log = Log::up_to(Level::INFO);
    let router = EventRouter::new().on_kind(EventKind::MatchFound, |_: Event| async {});
    for app in [
        app(),
        Router::new()
            .route("/", post(router))
            .layer(SoundHashWebhookLayer::new(KEY)),
    ] {
        for (event_type, misfit) in [
            ("match.found", "its payload does not fit its type"),
            ("made.up", "its type is unknown"),
        ] {
            assert_eq!(deliver(&app, KEY, &test_event(event_type)).await, 200);
            let line = log.line();
            assert!(
                line.starts_with("INFO soundhash_webhook.delivery{id="),
                "{line}"
            );
            let received = format!("webhook test received: {misfit}");
            assert!(line.contains(&received), "{line}");
        }
    }
}

/// The reason why a payload does not fit quotes the payload, so it is not logged.
#[tokio::test]
async fn an_event_that_cannot_be_parsed_is_one_warning_however_it_is_parsed() {
    let processed = || EventRouter::new().on(|_: Payload<VideoProcessed>| async {});
    let with_fallback = processed().fallback(|_: Event| async {});
    let keeping = processed().fallback(|_: Delivery| async {});
    let misfit = event("video.processed", r#"["hidden"]"#);
    let unknown = event("made.up", r#"{"a":"hidden"}"#);
    let no_event = "[\"hidden\"]".to_owned();
    let does_not_fit = "webhook event not recognized: its payload does not fit its type. \
                        Update soundhash-webhook, or handle EventData::Unrecognized \
                        misfit=\"data: payload is not an object\"";
    let is_unknown = "webhook event not recognized: its type is unknown. \
                      Update soundhash-webhook, or handle EventData::Unrecognized";
    let is_none = "webhook body is not an event: store Delivery::body to examine it \
                   error=\"body is JSON, but not an object\"";
    let another = "webhook event has a different type than its handler takes: register the endpoint \
                   only for the type of the handler, or use an EventRouter expected=\"match.found\"";
    let payload = |_: Payload<VideoProcessed>| async {};
    let both = |_: Event, _: Result<Payload<VideoProcessed>, PayloadRejection>| async {};
    let parsing = |delivery: Delivery| async move {
        let _ = delivery.event();
    };
    let log = Log::up_to(Level::INFO);
    for (route, body, status, expected) in [
        (post(|_: Event| async {}), &misfit, 200, does_not_fit),
        (post(|_: Event| async {}), &unknown, 200, is_unknown),
        (post(processed()), &misfit, 422, does_not_fit),
        (post(processed()), &unknown, 200, is_unknown),
        (post(processed()), &no_event, 422, is_none),
        (post(processed()), &event("match.found", "1"), 200, ""),
        (post(with_fallback.clone()), &misfit, 200, does_not_fit),
        (post(with_fallback.clone()), &unknown, 200, is_unknown),
        (post(with_fallback), &no_event, 422, is_none),
        // The router logs the problem even if the fallback does not use an extractor.
        (post(keeping.clone()), &misfit, 200, does_not_fit),
        (post(keeping.clone()), &unknown, 200, is_unknown),
        (post(keeping), &no_event, 200, is_none),
        (post(parsing), &misfit, 200, does_not_fit),
        (post(parsing), &unknown, 200, is_unknown),
        (post(parsing), &no_event, 200, is_none),
        (post(both), &misfit, 200, does_not_fit),
        (post(payload), &misfit, 422, does_not_fit),
        (
            post(|_: Payload<MatchFound>| async {}),
            &video(),
            422,
            another,
        ),
    ] {
        let app = Router::new()
            .route("/", route)
            .layer(SoundHashWebhookLayer::new(KEY));
        assert_eq!(deliver(&app, KEY, body).await, status);
        let lines = log.take();
        if expected.is_empty() {
            assert_eq!(lines, "");
        } else {
            assert_eq!(lines.lines().count(), 1, "{lines}");
            assert!(
                lines.starts_with(" WARN soundhash_webhook.delivery"),
                "{lines}"
            );
            assert!(lines.ends_with(&format!(": {expected}\n")), "{lines}");
        }
    }
}

/// Returns an id or type that attacks the log with a line break, terminal colors and enough text to
/// fill a disk.
fn forged() -> String {
    let long = "x".repeat(1000);
    let forged = format!(r"\nERROR \u001b[31m\u202e {long}");
    format!(r#"{{"type":"{forged}","id":"{forged}","data":{{}}}}"#)
}

#[track_caller]
fn assert_escaped(lines: &str) {
    let escaped = "\\\\nERROR \\\\u{1b}[31m\\\\u{202e} xxx";
    assert!(lines.contains(escaped), "{lines}");
    for line in lines.lines() {
        assert!(line.starts_with(['D', 'E', 'I', 'W', ' ']), "{line}");
        assert!(line.len() < 700 && is_harmless(line), "{line}");
        assert!(!line.trim_start().starts_with("ERROR \u{1b}"), "{line}");
    }
}

/// Attack: someone who has the secret forges log lines through ids and types.
#[tokio::test(start_paused = true)]
async fn ids_types_and_keys_are_escaped_and_cut() {
    async fn escapes(store: impl IdempotencyStore, message: &str) {
        let log = Log::up_to(Level::DEBUG);
        let app = behind_both(IdempotencyLayer::new(store), post(|_: Event| async {}));
        assert_eq!(deliver(&app, KEY, &forged()).await, 200);
        let lines = log.take();
        assert_escaped(&lines);
        assert!(lines.contains(message), "{lines}");
        assert_eq!(lines.lines().count(), 3, "{lines}");
    }
    let lost = "webhook handler outlived its lease, or the store lost the claim";
    escapes(Ends(|| async { Ok(false) }), lost).await;
    let failed = "idempotency store failed to record a handler's result";
    escapes(Ends(|| async { Err("store is\ndown".into()) }), failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_an_error_at_most_once_a_minute() {
    let log = Log::up_to(Level::INFO);
    let store = Faulty::new();
    store.claims_fail.store(11, Ordering::SeqCst);
    let app = behind_both(IdempotencyLayer::new(store), post(|| async {}));
    for _ in 0..10 {
        assert_eq!(deliver(&app, KEY, &video()).await, 503);
    }
    let line = log.line();
    let start =
        format!("ERROR {SPAN}soundhash_webhook: webhook rejected: idempotency store failed: ");
    assert!(line.starts_with(&start), "{line}");
    assert!(
        line.ends_with(r#"reason="store_unavailable" path="/" error="store is\\ndown""#),
        "{line}"
    );
    advance(Duration::from_secs(61)).await;
    assert_eq!(deliver(&app, KEY, &video()).await, 503);
    let line = log.line();
    let summary = "ERROR soundhash_webhook: 10 requests rejected in the last minute: ";
    assert!(line.starts_with(summary), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_is_an_error_at_most_once_a_minute() {
    let retried = "SoundHash sends the event again, and drops it after 7 minutes of retries";
    let followed = "SoundHash follows the redirect, and may not send the event again";
    let elsewhere = || async { Redirect::temporary("/elsewhere") };
    for (route, status, advice) in [
        (
            post(|| async { StatusCode::SERVICE_UNAVAILABLE }),
            "503 Service Unavailable",
            retried,
        ),
        (
            post(async |_: Json<i32>| {}),
            "415 Unsupported Media Type",
            retried,
        ),
        (post(elsewhere), "307 Temporary Redirect", followed),
        (MethodRouter::new(), "405 Method Not Allowed", retried),
    ] {
        let log = Log::up_to(Level::INFO);
        let app = behind_both(IdempotencyLayer::new(MemoryStore::new(9)), route);
        let deliver = async || deliver(&app, KEY, &video()).await.to_string();
        for _ in 0..10 {
            assert_eq!(deliver().await, status[..3]);
        }
        let expected = format!(
            "ERROR {SPAN}soundhash_webhook: webhook rejected: handler responded with {status}: \
             {advice} reason=\"handler_failed\""
        );
        assert_eq!(log.line(), expected);
        advance(Duration::from_secs(61)).await;
        assert_eq!(deliver().await, status[..3]);
        let line = log.line();
        let summary =
            "ERROR soundhash_webhook: 9 requests rejected in the last minute: handler_failed 9 ";
        assert!(line.starts_with(summary), "{line}");
    }
}
