//! The list: live, filtered, by keyboard.

use serde_json::json;
use soundhash_webhook::EventKind;
use thirtyfour::{By, Key};
use tokio::time::Instant;

use super::driver::{Browser, in_browser, test_id};
use crate::support::{App, SECRET, body, titled};

async fn visible(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('[data-testid=delivery]')].filter(it => !it.hidden).map(it => it.dataset.id)";
    serde_json::from_value(browser.script(script).await).unwrap()
}

/// Waits until the list shows these rows, the newest first.
async fn shows(browser: &Browser, ids: &[&str]) {
    let ids = json!(ids);
    browser
        .wait_for(&format!(
            "JSON.stringify([...document.querySelectorAll('[data-testid=delivery]')].filter(it => !it.hidden).map(it => it.dataset.id)) === JSON.stringify({ids})"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_appear_at_once_with_their_verdicts() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
        assert!(browser.text("empty").await.contains(&app.url));
        browser.script("window.notReloaded = true").await;

        // A page that did not get live updates would show them up to 20 seconds later.
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
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_searched_paused_and_cleared() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
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

        // The search ignores case and includes bodies that arrive later.
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
        assert_eq!(visible(&browser).await.len(), 4);
        browser.click("pause").await;
        shows(&browser, &["five", "four", "three", "two", "one"]).await;

        browser.click("clear").await;
        browser.element(test_id("empty")).await;
        assert_eq!(visible(&browser).await, Vec::<String>::new());
        app.send_signed(SECRET, body(EventKind::MatchFound)).await;
        browser.element(test_id("delivery")).await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_does_everything() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.set_size(1280, 800).await;
        for id in ["one", "two", "three"] {
            app.send_signed(SECRET, titled(id, "A song")).await;
        }
        browser.open(&app).await;
        browser.row("one", "accepted").await;
        browser.press("j").await;
        browser.wait_for_text(".subtitle", "three").await;
        browser.press("j").await;
        browser.wait_for_text(".subtitle", "two").await;
        browser.press("k").await;
        browser.wait_for_text(".subtitle", "three").await;
        // In the search field, a letter is not a command.
        browser.press("/").await;
        browser.press("jkr").await;
        browser
            .wait_for("document.querySelector('[data-testid=search]').value === 'jkr'")
            .await;
        browser.press(Key::Escape.value()).await;
        browser.press("r").await;
        browser.row("three", "duplicate").await;
        browser
            .wait_for("document.querySelector('.heading .badge')?.dataset.verdict === 'duplicate'")
            .await;

        // On a narrow window, the list makes room for the delivery.
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
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_says_how_many_requests_came_and_how_many_are_kept() {
    in_browser(|browser| async move {
        let app = App::with(|inspector, _| inspector.with_secret(SECRET).capacity(2)).await;
        browser.open(&app).await;
        for (sent, says) in [(2, "2 received, all kept"), (3, "5 received, 2 kept")] {
            for _ in 0..sent {
                app.send_signed(SECRET, body(EventKind::MatchFound)).await;
            }
            browser.wait_for_text("[data-testid=counter]", says).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listed_deliveries_are_sent_again_after_a_confirmation() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
        for id in ["one", "two", "two"] {
            app.send_signed(SECRET, titled(id, "A song")).await;
        }
        app.send_signed("whsec_of_nobody", titled("forged", "A song"))
            .await;
        shows(&browser, &["forged", "two", "two", "one"]).await;
        let says = async |text: &str| {
            let text = json!(text);
            browser
                .wait_for(&format!(
                    "document.querySelector('[data-testid=run-text]').textContent === {text}"
                ))
                .await;
        };
        // Each event once, and nothing that was rejected.
        browser.click("again").await;
        says("Your application handles 2 listed events again, the oldest first.").await;
        browser.click("run-start").await;
        says("2 of 2 sent again: 2 accepted.").await;
        browser.click("run-close").await;

        // The same bytes are duplicates. Deliveries that the inspector has sent are left out.
        browser.click("again").await;
        browser
            .element(By::Css("#run-as option[value='replay']"))
            .await
            .click()
            .await
            .unwrap();
        browser.click("run-start").await;
        says("2 of 2 sent again: 2 duplicate.").await;
        browser.click("run-close").await;

        // Only what the list shows, at the rate that was chosen.
        browser.press("/").await;
        browser.press("one").await;
        browser
            .wait_for(
                "document.querySelectorAll('[data-testid=delivery]:not([hidden])').length < 8",
            )
            .await;
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
        says("1 of 2 sent again: 1 accepted.").await;
        browser.click("run-close").await;
        browser
            .wait_for("document.querySelector('[data-testid=run-close]').textContent === 'Close'")
            .await;
        says("1 of 2 sent again: 1 accepted.").await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}
