//! Tests the appearance of the page: screenshots, accessibility and narrow windows.

use std::{env, path::Path, time::Duration};

use http::HeaderMap;
use serde_json::json;
use soundhash_webhook::{EventKind, Secret, Sender, testing::fresh_sample};
use thirtyfour::{By, Key};
use tokio::time::sleep;

use super::driver::{Browser, in_browser, test_id};
use crate::support::{App, SECRET};

fn event(kind: EventKind, id: &str) -> Vec<u8> {
    let mut event = fresh_sample(kind, Sender::Dispatcher);
    event["id"] = id.into();
    Sender::Dispatcher.to_bytes(&event)
}

/// Sends a typical mix of deliveries.
async fn send_some(app: &App) {
    let video = (EventKind::VideoProcessed, "Lj5invc61jBhWnpYZ6_Yxw");
    for (kind, id) in [
        (EventKind::VideoUploaded, "Wf3Zq81nTgKxPc0vRyA5Eg"),
        (EventKind::VideoProcessing, "b7LhJ2sMYk6dQ9uXoN4CtA"),
        (EventKind::SubscriptionUpdated, "pT5yGm8EaVr1KzB3Hn7wSQ"),
        video,
        (EventKind::JobFailed, "R4cUo9DiXs2FqM0jNe6vLg"),
        video,
        (EventKind::MatchFound, "g-lRS26_gP40W6FKCarKTg"),
    ] {
        let secret = match kind {
            EventKind::SubscriptionUpdated => "whsec_of_nobody",
            _ => SECRET,
        };
        app.send_signed(secret, event(kind, id)).await;
    }
    // The sender signed the trailing line break of its file, but did not send it.
    let mut body = fresh_sample(EventKind::VideoProcessed, Sender::Dispatcher);
    body["id"] = STRIPPED.into();
    body["data"]["title"] = "Night Drive".into();
    let body = Sender::Dispatcher.to_bytes(&body);
    let signature = Secret::new(SECRET).sign(&[&body[..], b"\n"].concat());
    let mut headers = HeaderMap::new();
    headers.insert("x-webhook-signature", signature.into());
    headers.insert("user-agent", "SoundHash-Webhook/1.0".parse().unwrap());
    app.send(headers, body).await;
    let limit = event(EventKind::ApiLimitReached, "k2Qw8vXn0JmZr4TbLs9dYA");
    app.send_signed(SECRET, limit).await;
}

/// An event with a field that is missing from the crate's types.
const CHANGED: &str = r#"{"type": "match.found", "data": {"query_id": 1, "matches": [
    {"video_id": 1, "confidence": 1, "start_time": 0, "end_time": 1, "<b>": 1}]}}"#;

const STRIPPED: &str = "zE1oHx7CbWu5Ay3SgV9fMQ";

/// Saves a screenshot if `INSPECTOR_SCREENSHOTS` is set to a directory.
async fn photograph(browser: &Browser, name: &str) {
    if let Ok(folder) = env::var("INSPECTOR_SCREENSHOTS") {
        // New rows are tinted for a moment, so this waits until the tint is gone.
        sleep(Duration::from_millis(1_500)).await;
        let path = Path::new(&folder).join(name);
        browser.screenshot(&path).await.unwrap();
    }
}

async fn check(browser: &Browser, state: &str) {
    assert_eq!(browser.violations().await, Vec::<String>::new(), "{state}");
    let widths = browser
        .script("const page = document.scrollingElement; return [page.scrollWidth, innerWidth]")
        .await;
    assert_eq!(widths[0], widths[1], "{state} scrolls to the side");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_accessible_in_light_and_dark_and_on_a_phone() {
    in_browser(|browser| async move {
        for (scheme, picture) in [("light", "inspector.png"), ("dark", "inspector-dark.png")] {
            // Each round uses a new application, so that its events are not duplicates of the
            // previous round's events.
            let app = App::start().await;
            browser.set_scheme(scheme).await;
            browser.set_size(1280, 800).await;
            browser.open(&app).await;
            browser.element(test_id("empty")).await;
            // Discards the errors that the previous round's page logged when it lost its
            // connection.
            browser.console().await;
            check(&browser, &format!("empty, {scheme}")).await;
            photograph(&browser, &format!("empty-{picture}")).await;

            send_some(&app).await;
            app.send_signed(SECRET, CHANGED).await;
            app.send_signed(SECRET, r#"{"type": "job.failed", "data": {"job_id": []}}"#)
                .await;
            browser.open_row(STRIPPED, "rejected").await;
            browser.click("explain").await;
            browser
                .element(By::Css("[data-testid='explanation']"))
                .await;
            check(&browser, &format!("one delivery, {scheme}")).await;
            photograph(&browser, picture).await;

            browser.click("again").await;
            browser.element(test_id("run-text")).await;
            check(&browser, &format!("sending again, {scheme}")).await;
            photograph(&browser, &format!("again-{picture}")).await;

            browser.set_size(400, 800).await;
            check(&browser, &format!("one delivery, narrow, {scheme}")).await;
            photograph(&browser, &format!("narrow-detail-{picture}")).await;
            for (width, size) in [(1280, "wide"), (400, "narrow")] {
                browser.set_size(width, 800).await;
                if size == "narrow" {
                    browser.press(Key::Escape.value()).await;
                }
                browser.click("schema").await;
                let changes = browser.text("changes").await;
                for part in [
                    "match.found",
                    "data.matches[].<b>",
                    "job.failed",
                    "data.job_id",
                ] {
                    assert!(changes.contains(part), "{part} in {changes}");
                }
                check(&browser, &format!("schema, {size}, {scheme}")).await;
                photograph(&browser, &format!("schema-{size}-{picture}")).await;
                // Escape closes the dialog, but not the delivery behind it.
                browser.press(Key::Escape.value()).await;
                let open = "return document.querySelector('#changes').open";
                assert_eq!(browser.script(open).await, json!(false));
            }
            browser
                .wait_for("document.querySelector('#detail').hidden")
                .await;
            check(&browser, &format!("sending again, narrow, {scheme}")).await;
            photograph(&browser, &format!("narrow-again-{picture}")).await;
            browser.click("run-close").await;
            check(&browser, &format!("list, narrow, {scheme}")).await;
            photograph(&browser, &format!("narrow-{picture}")).await;
            browser.click("clear").await;
            browser.element(test_id("empty")).await;
            check(&browser, &format!("empty, narrow, {scheme}")).await;
            assert_eq!(browser.console().await, Vec::<String>::new());

            app.stop_page().await;
            browser.element(test_id("dead")).await;
            check(&browser, &format!("dead, narrow, {scheme}")).await;
            photograph(&browser, &format!("narrow-dead-{picture}")).await;
            browser.set_size(1280, 800).await;
            check(&browser, &format!("dead, {scheme}")).await;
            photograph(&browser, &format!("dead-{picture}")).await;
        }
    })
    .await;
}
