//! Tests the list: its live updates, filters and keyboard commands.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use axum::{Router, body::to_bytes, routing::post};
use http::StatusCode;
use serde_json::json;
use soundhash_webhook::{
    Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing::SignedRequest,
};
use thirtyfour::{By, Key};
use tokio::time::Instant;
use tower::ServiceExt;

use super::driver::{Browser, on_page, test_id};
use crate::support::{PATH, SECRET, body, from_portal, router, titled};

const VISIBLE: &str = "[...document.querySelectorAll('[data-testid=delivery]')].filter(it => !it.hidden).map(it => it.dataset.id)";

/// Waits until the list shows these rows, newest first.
async fn shows(browser: &Browser, ids: &[&str]) {
    let ids = json!(ids);
    let same = format!("JSON.stringify({VISIBLE}) === JSON.stringify({ids})");
    browser.wait_for(&same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_appear_at_once_with_their_verdicts() {
    on_page(|browser, app| async move {
        assert!(browser.text("empty").await.contains(&app.url));
        browser.script("window.notReloaded = true").await;

        // Without live updates, deliveries would appear up to 20 seconds late.
        let mut fastest = f64::MAX;
        for number in 0..4 {
            let id = format!("fast-{number}");
            app.send_signed(SECRET, titled(&id, "A song")).await;
            let sent = Instant::now();
            browser.row(&id, "accepted").await;
            fastest = fastest.min(sent.elapsed().as_secs_f64());
        }
        assert!(fastest < 10.0, "{fastest} s");

        app.send_signed(SECRET, titled("fast-0", "A song")).await;
        browser.row("fast-0", "duplicate").await;
        app.send_signed("whsec_of_nobody", titled("forged", "A song")).await;
        let forged = browser.row("forged", "rejected").await;
        assert!(forged.text().await.unwrap().contains("Signature does not match the body."));
        let unknown = br#"{"id": "unknown", "type": "video.remixed", "data": {"a": 1}}"#;
        app.send_signed(SECRET, &unknown[..]).await;
        assert!(browser.row("unknown", "accepted").await.text().await.unwrap().contains("video.remixed"));
        let failing = br#"{"id": "failing", "type": "job.failed", "data": {"job_id": 1, "job_type": "x", "target_id": "y", "attempt_count": 1}}"#;
        app.send_signed(SECRET, &failing[..]).await;
        let failed = browser.row("failing", "failed").await.text().await.unwrap();
        assert!(failed.contains("The handler responded with 500.") && failed.contains("500 · "), "{failed}");
        app.send(http::HeaderMap::new(), "{}").await;
        browser.element(By::Css("[data-testid='delivery'][data-verdict='rejected'][data-id='9']")).await;

        assert!(!browser.find(test_id("empty")).await.unwrap().is_displayed().await.unwrap());
        assert_eq!(browser.script("return window.notReloaded").await, json!(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_searched_paused_and_cleared() {
    on_page(|browser, app| async move {
        app.send_signed(SECRET, titled("one", "Night Drive")).await;
        app.send_signed("whsec_of_nobody", titled("two", "Day Trip"))
            .await;
        let other = br#"{"id": "three", "type": "video.remixed", "data": {"a": 1}}"#;
        app.send_signed(SECRET, &other[..]).await;
        shows(&browser, &["three", "two", "one"]).await;

        let chip = |name: &str| {
            By::XPath(format!(
                "//div[@id='verdicts']/button[starts-with(., '{name}')]"
            ))
        };
        browser.click_on(chip("rejected")).await;
        shows(&browser, &["two"]).await;
        browser.click_on(chip("all")).await;
        browser
            .click_on(By::Css("#type option[value='video.remixed']"))
            .await;
        shows(&browser, &["three"]).await;
        browser.click_on(By::Css("#type option[value='']")).await;
        shows(&browser, &["three", "two", "one"]).await;

        // The search ignores case, and also finds deliveries that arrive after the text was
        // entered.
        browser.press("/").await;
        browser.press("nIGHT dRIVE").await;
        shows(&browser, &["one"]).await;
        app.send_signed(SECRET, titled("four", "Night Drive II"))
            .await;
        shows(&browser, &["four", "one"]).await;
        browser.press(Key::Escape.value()).await;
        shows(&browser, &["four", "three", "two", "one"]).await;

        browser.click("pause").await;
        app.send_signed(SECRET, titled("five", "Later")).await;
        browser
            .wait_for_text("[data-testid=pause]", "Resume (1)")
            .await;
        shows(&browser, &["four", "three", "two", "one"]).await;
        browser.click("pause").await;
        shows(&browser, &["five", "four", "three", "two", "one"]).await;

        browser.click("clear").await;
        browser.element(test_id("empty")).await;
        shows(&browser, &[]).await;
        app.send_signed(SECRET, body(EventKind::MatchFound)).await;
        browser.element(test_id("delivery")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_does_everything() {
    on_page(|browser, app| async move {
        browser.set_size(1280, 800).await;
        for id in ["one", "two", "three"] {
            app.send_signed(SECRET, titled(id, "A song")).await;
        }
        shows(&browser, &["three", "two", "one"]).await;
        browser.press("j").await;
        browser.wait_for_text(".subtitle", "three").await;
        browser.press("j").await;
        browser.wait_for_text(".subtitle", "two").await;
        browser.press("k").await;
        browser.wait_for_text(".subtitle", "three").await;
        // While the search field has the focus, letters do not act as commands.
        browser.press("/").await;
        browser.press("jkr").await;
        browser
            .wait_for("document.querySelector('[data-testid=search]').value === 'jkr'")
            .await;
        browser.press(Key::Escape.value()).await;
        browser.press("r").await;
        browser.row("three", "duplicate").await;
        browser.wait_for_text(".heading .badge", "duplicate").await;

        // In a narrow window, an open delivery takes the place of the list.
        browser.press(Key::Escape.value()).await;
        browser.set_size(400, 800).await;
        browser.press("j").await;
        browser.press(Key::Enter.value()).await;
        browser.element(By::Css("#detail:not([hidden])")).await;
        browser
            .wait_for("document.querySelector('.list').offsetParent === null")
            .await;
        browser.press(Key::Escape.value()).await;
        browser
            .wait_for("document.querySelector('.list').offsetParent !== null")
            .await;
        // A link to a delivery opens it.
        let link = format!("{}#2", app.base);
        browser.goto(&link).await.unwrap();
        browser.wait_for_text(".subtitle", "two").await;
    })
    .await;
}

/// The new record is selected at once, so a key that is held down would send each copy again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_held_down_replays_once() {
    on_page(|browser, app| async move {
        app.send_signed(SECRET, titled("held", "A song")).await;
        browser.open_row("held", "accepted").await;
        let press = "{key: 'r', bubbles: true, repeat: arguments[0]}";
        for repeat in ["false", "true"] {
            let press = press.replace("arguments[0]", repeat);
            browser
                .script(&format!(
                    "document.body.dispatchEvent(new KeyboardEvent('keydown', {press}))"
                ))
                .await;
            browser.wait_for_text(".heading .badge", "duplicate").await;
        }
        // The records that the keys caused come before this one.
        app.send_signed(SECRET, titled("last", "A song")).await;
        browser.row("last", "accepted").await;
        shows(&browser, &["last", "held", "held"]).await;
    })
    .await;
}

/// Sending such an event as new would handle it a second time, under an id that no layer knows.
#[tokio::test(flavor = "multi_thread")]
async fn failed_deliveries_are_not_sent_again_after_a_retry_was_accepted() {
    on_page(|browser, app| async move {
        let status = Arc::new(AtomicU16::new(500));
        let respond = {
            let status = status.clone();
            async move |_: Event| StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap()
        };
        let service = Router::new()
            .route(PATH, post(respond))
            .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
            .layer(app.inspector.layer());
        let set = |sent| status.store(sent, Ordering::Relaxed);
        for (id, sent) in [
            ("copied", 500),
            ("retried", 500),
            ("lost", 500),
            ("retried", 200),
        ] {
            set(sent);
            let request = SignedRequest::new(SECRET).body(titled(id, "A song"));
            let Ok(response) = service.clone().oneshot(request.build()).await;
            to_bytes(response.into_body(), usize::MAX).await.unwrap();
        }
        shows(&browser, &["retried", "lost", "retried", "copied"]).await;
        // The second copy is one of the first.
        browser.open_row("copied", "failed").await;
        for (sent, received, verdict) in [(500, 5, "failed"), (200, 6, "accepted")] {
            set(sent);
            browser.click("send-as-new").await;
            let counter = format!("{received} received, all kept");
            browser
                .wait_for_text("[data-testid=counter]", &counter)
                .await;
            browser.wait_for_text(".heading .badge", verdict).await;
        }
        browser
            .click_on(By::XPath(
                "//div[@id='verdicts']/button[starts-with(., 'failed')]",
            ))
            .await;
        browser.click("again").await;
        let says = async |text: &str| browser.wait_for_text("[data-testid=run-text]", text).await;
        says("Your application handles the listed event again.").await;
        browser.click("run-start").await;
        says("1 of 1 sent again: 1 accepted.").await;
        browser.click("run-close").await;
        // The copy with a new id was accepted, so nothing is left to do.
        browser.click("again").await;
        says("No listed delivery can be sent again.").await;
    })
    .await;
}

/// The page would freeze if it rendered every delivery.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_kept_ones_of_thousands_of_deliveries() {
    on_page(|browser, app| async move {
        // These deliveries do not go through a socket, so they arrive faster than the page can be
        // updated.
        let service = router().layer(app.inspector.layer());
        for (sent, says) in [
            (50, "50 received, all kept"),
            (2950, "3,000 received, 200 kept"),
        ] {
            for _ in 0..sent {
                let request = SignedRequest::new(SECRET);
                let request = request.fresh_sample(EventKind::MatchFound, Sender::Dispatcher);
                let Ok(response) = service.clone().oneshot(request.build()).await;
                to_bytes(response.into_body(), usize::MAX).await.unwrap();
            }
            browser.wait_for_text("[data-testid=counter]", says).await;
        }
        browser
            .wait_for("document.querySelectorAll('.row').length <= 200")
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listed_deliveries_are_sent_again_after_a_confirmation() {
    on_page(|browser, app| async move {
        for id in ["one", "two", "two"] {
            app.send_signed(SECRET, titled(id, "A song")).await;
        }
        for title in ["A song", "Another song"] {
            app.send_signed(SECRET, from_portal("same", title)).await;
        }
        app.send_signed("whsec_of_nobody", titled("forged", "A song"))
            .await;
        shows(&browser, &["forged", "same", "same", "two", "two", "one"]).await;
        let says = async |text: &str| browser.wait_for_text("[data-testid=run-text]", text).await;
        // Each event is sent once, and rejected requests are skipped.
        browser.click("again").await;
        says("Your application handles 4 listed events again, the oldest first.").await;
        browser.click("run-start").await;
        says("4 of 4 sent again: 4 accepted.").await;
        browser.click("run-close").await;

        // Replayed deliveries have the same bytes, so they are duplicates. Deliveries that the
        // inspector itself sent are skipped.
        browser.click("again").await;
        browser
            .click_on(By::Css("#run-as option[value='replay']"))
            .await;
        browser.click("run-start").await;
        says("4 of 4 sent again: 4 duplicate.").await;
        browser.click("run-close").await;

        // Only the listed deliveries are sent, at the chosen rate.
        browser.press("/").await;
        browser.press("one").await;
        browser.wait_for(&format!("{VISIBLE}.length < 14")).await;
        browser.click("again").await;
        says("Your application handles the listed event again.").await;
        browser.click("run-close").await;
        browser.press("/").await;
        browser.press(Key::Escape.value()).await;
        browser.click("again").await;
        browser
            .script("document.querySelector('#run-rate').value = '0.1'")
            .await;
        browser.click("run-start").await;
        says("1 of 4 sent again: 1 accepted.").await;
        browser.click("run-close").await;
        browser
            .wait_for_text("[data-testid=run-close]", "Close")
            .await;
        says("1 of 4 sent again: 1 accepted.").await;
    })
    .await;
}
