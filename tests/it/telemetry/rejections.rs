//! The log of rejections: new users see the reason immediately, and attackers cannot fill the log.

use std::{
    env,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, body::Body, routing::post};
use http::{Request, request};
use soundhash_webhook::{
    BoxError, Event, SecretProvider, Secrets, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use tokio::time::advance;
use tower::ServiceBuilder;
use tracing::Level;

use super::{
    KEY, app, deliver,
    log::{Log, is_harmless, number},
    rejected, request as post_to, send, video,
};
use crate::{
    process::{Receiver, exchange, status},
    support::{BODY, signed_bytes},
};

const SECOND: Duration = Duration::from_secs(1);
const WRONG: &str = "whsec_of another endpoint";

#[tokio::test]
async fn the_first_rejection_for_each_reason_is_a_warning_and_later_ones_are_debug_lines() {
    let (log, app) = (Log::up_to(Level::DEBUG), app());
    for level in ["WARN", "DEBUG"] {
        for (request, reason) in rejected() {
            assert!([401, 413].contains(&send(&app, request).await));
            let line = log.line();
            let start = format!("{level} soundhash_webhook: webhook rejected: ");
            assert!(line.starts_with(&start), "{line}");
            let end = format!(" reason=\"{reason}\" path=\"/\"");
            assert!(line.ends_with(&end), "{line}");
        }
    }
}

#[tokio::test]
async fn a_new_user_with_a_wrong_secret_sees_the_cause_without_any_setting() {
    let mut receiver = Receiver::start(&[("SOUNDHASH_WEBHOOK_SECRET", WRONG)]);
    let response = exchange(&receiver.addr, &signed_bytes(BODY)).await;
    assert_eq!(status(&response), "401");
    let line = receiver.wait_for_log("wrong_signature");
    for part in [
        "WARN",
        "signature does not match the body",
        "check that the secret is the one of this SoundHash endpoint",
        "the inspector",
        "`soundhash-webhook verify`",
        "/webhooks/soundhash",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn rejections_after_the_first_are_summarised_once_a_minute() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    for _ in 0..12 {
        deliver(&app, WRONG, &video()).await;
    }
    let line = log.line();
    assert!(
        line.contains("webhook rejected: signature does not match"),
        "{line}"
    );
    advance(59 * SECOND).await;
    deliver(&app, WRONG, &video()).await;
    assert_eq!(log.take(), "");

    advance(2 * SECOND).await;
    deliver(&app, WRONG, &video()).await;
    assert_eq!(
        log.line(),
        "WARN soundhash_webhook: 13 requests rejected in the last minute: wrong_signature 13 \
         reason=\"wrong_signature\" count=13 window_s=61.0 path=\"/\""
    );

    // The summary also marks the start of the next minute.
    advance(59 * SECOND).await;
    deliver(&app, WRONG, &video()).await;
    assert_eq!(log.take(), "");
    advance(240 * SECOND).await;
    deliver(&app, WRONG, &video()).await;
    let line = log.line();
    let summary = "2 requests rejected in the last 5 minutes: wrong_signature 2";
    assert!(line.contains(summary), "{line}");
    let window: f64 = number(&line, "window_s");
    assert!((window - 299.0).abs() < 0.1, "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_a_quiet_minute_is_logged_at_once_again() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    for _ in 0..3 {
        deliver(&app, WRONG, &video()).await;
        let line = log.line();
        assert!(line.contains("check that the secret"), "{line}");
        advance(60 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reasons_are_counted_apart() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    for (request, _) in rejected() {
        send(&app, request).await;
    }
    log.take();
    for _ in 0..2 {
        for (request, _) in rejected() {
            send(&app, request).await;
        }
    }
    advance(61 * SECOND).await;
    deliver(&app, KEY, &video()).await;
    let lines = log.take();
    assert_eq!(lines.lines().count(), rejected().len(), "{lines}");
    for (_, reason) in rejected() {
        let summary = format!("2 requests rejected in the last minute: {reason} 2 ");
        assert!(lines.contains(&summary), "{lines}");
    }
}

/// Attack: fill the disk, forge a line or get a token printed, using requests that anyone can send.
#[tokio::test(start_paused = true)]
async fn an_attacker_controls_neither_the_number_nor_the_length_of_lines() {
    let log = Log::up_to(Level::INFO);
    let app = Router::new()
        .fallback(post(|_: Event| async {}))
        .layer(SoundHashWebhookLayer::new(KEY));
    let (minutes, each) = (10, 200);
    let tail = "x".repeat(4000);
    for _ in 0..minutes {
        for i in 0..each {
            let uri = format!("/{i}/\u{202e}\u{9b}31m{tail}?token=hidden");
            let request = Request::post(uri)
                .header("x-webhook-signature", "0".repeat(64))
                .header("x-webhook-id", "hidden")
                .body(Body::from("hidden"));
            assert_eq!(send(&app, request.unwrap()).await, 401);
            advance(60 * SECOND / each).await;
        }
    }
    advance(60 * SECOND).await;
    assert_eq!(deliver(&app, KEY, &video()).await, 200);

    let lines = log.take();
    assert!(lines.lines().count() <= 11, "{lines}");
    let mut rejections = 0;
    for line in lines.lines() {
        assert!(line.len() < 600 && is_harmless(line), "{line}");
        assert!(!line.contains("hidden"), "{line}");
        assert!(!line.contains(&"x".repeat(64)), "{line}");
        assert!(line.contains("\\\\u{202e}\\\\u{9b}31mxxx"), "{line}");
        rejections += match line.contains("requests rejected") {
            true => number(line, "count"),
            false => 1,
        };
    }
    // Together, the lines account for every rejection.
    assert_eq!(rejections, minutes * each);
}

/// A provider that knows only the endpoint `acme`, and returns an error for `down`.
struct Tenants;

impl SecretProvider for Tenants {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        match head.uri.path() {
            "/acme" => Ok(Some(Secrets::new(KEY).endpoint("acme\n"))),
            "/down" => Err("no connection\nERROR forged".into()),
            _ => Ok(None),
        }
    }
}

fn tenants() -> Router {
    Router::new()
        .route("/{tenant}", post(|_: Event| async {}))
        .layer(SoundHashWebhookLayer::with_provider(Tenants))
}

#[tokio::test]
async fn a_rejection_names_path_and_endpoint() {
    let (log, app) = (Log::up_to(Level::INFO), tenants());
    let signature = "0".repeat(64);
    assert_eq!(send(&app, post_to("/acme", &signature, "{}")).await, 401);
    let line = log.line();
    let end = r#"path="/acme" endpoint="acme\\n""#;
    assert!(line.ends_with(end), "{line}");
    assert_eq!(send(&app, post_to("/other", &signature, "{}")).await, 401);
    let line = log.line();
    assert!(
        line.contains("the SecretProvider knows the endpoint"),
        "{line}"
    );
    let end = r#"reason="unknown_endpoint" path="/other""#;
    assert!(line.ends_with(end), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_is_an_error_at_most_once_a_minute() {
    let (log, app) = (Log::up_to(Level::INFO), tenants());
    let down = || post_to("/down", &"0".repeat(64), "{}");
    for _ in 0..100 {
        assert_eq!(send(&app, down()).await, 503);
    }
    let line = log.line();
    let start = "ERROR soundhash_webhook: webhook rejected: lookup of the secrets failed";
    assert!(line.starts_with(start), "{line}");
    let end = r#"path="/down" error="no connection\\nERROR forged""#;
    assert!(line.ends_with(end), "{line}");
    advance(61 * SECOND).await;
    assert_eq!(send(&app, down()).await, 503);
    let line = log.line();
    let summary = "ERROR soundhash_webhook: 100 requests rejected in the last minute: \
                   secrets_unavailable 100 ";
    assert!(line.starts_with(summary), "{line}");
}

/// If the clock is two minutes slow, every delivery is rejected. Only this warning shows the cause.
#[tokio::test(start_paused = true)]
async fn an_authentic_delivery_that_max_age_rejects_is_a_warning_about_clocks() {
    let nine = UNIX_EPOCH + Duration::from_secs(1_795_424_400);
    let layer = IdempotencyLayer::new(MemoryStore::new(100))
        .max_age(15 * 60 * SECOND)
        .clock(move || nine);
    let app = Router::new().route("/", post(|_: Event| async {})).layer(
        ServiceBuilder::new()
            .layer(SoundHashWebhookLayer::new(KEY))
            .layer(layer),
    );
    let at = |time: &str| {
        format!(r#"{{"type":"match.found","id":"evt_1","data":{{}},"created_at":{time}}}"#)
    };
    let log = Log::up_to(Level::INFO);
    for (time, reason) in [
        (r#""2026-11-23T09:02:00Z""#, "from_the_future"),
        (r#""2026-11-23T08:00:00Z""#, "too_old"),
        ("null", "undated"),
    ] {
        for _ in 0..50 {
            assert_eq!(deliver(&app, KEY, &at(time)).await, 401);
        }
        let line = log.line();
        let start = "WARN soundhash_webhook.delivery{id=\"evt_1\" event_type=\"match.found\"}: \
                     soundhash_webhook: webhook rejected: event ";
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains("the delivery is authentic"), "{line}");
        let end = format!("reason=\"{reason}\" path=\"/\"");
        assert!(line.ends_with(&end), "{line}");
        assert_eq!(line.contains("clock"), reason != "undated", "{line}");
        advance(61 * SECOND).await;
        assert_eq!(deliver(&app, KEY, &at(time)).await, 401);
        let line = log.line();
        let summary = format!(
            "WARN soundhash_webhook: 50 requests rejected in the last minute: {reason} 50 "
        );
        assert!(line.starts_with(&summary), "{line}");
    }
}

/// Runs in a separate process, because all handlers in a process share the count of these errors.
#[test]
fn a_handler_without_the_layer_is_an_error_at_most_once_a_minute() {
    let test = "telemetry::rejections::a_handler_without_the_layer_alone_in_a_process";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("1 passed"), "{stdout}");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test above"]
async fn a_handler_without_the_layer_alone_in_a_process() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    for _ in 0..10 {
        assert_eq!(send(&app, post_to("/open?token=hidden", "", "")).await, 500);
    }
    assert_eq!(
        log.line(),
        "ERROR soundhash_webhook: webhook rejected: no SoundHashWebhookLayer around this \
         handler: put one around its route, because nothing is verified and every request gets \
         500 reason=\"layer_missing\" path=\"/open\""
    );
    advance(61 * SECOND).await;
    assert_eq!(send(&app, post_to("/open", "", "")).await, 500);
    let summary = "10 requests rejected in the last minute: layer_missing 10";
    assert!(log.line().contains(summary));
}
