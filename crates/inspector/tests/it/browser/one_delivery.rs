//! Tests a delivery's details, and the actions on a delivery.

use http::HeaderMap;
use serde_json::json;
use soundhash_webhook::Secret;
use thirtyfour::{By, Key};

use super::driver::{on_page, test_id};
use crate::support::{App, SECRET, titled};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_is_explained() {
    on_page(|browser, app| async move {
        // The sender signed the trailing line break of its file, but did not send it.
        let body = titled("stripped", "A song");
        let signed = [&body[..], b"\n"].concat();
        let signature = Secret::new(SECRET).sign(&signed).to_string();
        let mut headers = HeaderMap::new();
        headers.insert("x-webhook-signature", signature.parse().unwrap());
        app.send(headers, body).await;

        browser.open_row("stripped", "rejected").await;
        let reason = browser.text("reason").await;
        assert_eq!(reason, "Signature does not match the body.");
        let nothing = By::Css("[data-testid='explanation']");
        let shown = browser.find(nothing.clone()).await;
        assert!(shown.is_err(), "only on click");
        browser.click("explain").await;
        let explanation = browser.element(nothing).await.text().await.unwrap();
        assert!(
            explanation.contains("line break") || explanation.contains("line end"),
            "{explanation}"
        );
        let text = browser.script("return document.body.textContent").await;
        assert!(!text.to_string().contains(&signature));

        // If the inspector has no secret, the page asks for one.
        let app = App::with(|inspector, url| inspector.webhook_url(url)).await;
        browser.open(&app).await;
        app.send_signed("whsec_of_nobody", titled("no-secret", "A song"))
            .await;
        browser.open_row("no-secret", "rejected").await;
        let reason = "Inspector::with_secret";
        let callout = browser.element(By::Css(".callout")).await;
        assert!(callout.text().await.unwrap().contains(reason));
        // Keyboard and touch users can also see the reason why an action is not possible.
        for id in ["send-as-new", "send-sample"] {
            let button = browser.element(test_id(id)).await;
            let disabled = button.attr("aria-disabled").await.unwrap();
            assert_eq!(disabled.as_deref(), Some("true"), "{id}");
            button.focus().await.unwrap();
            browser.press(Key::Enter.value()).await;
            browser
                .wait_for(&format!("[...document.querySelectorAll('[role=alert]')].some(it => it.offsetParent && it.textContent.includes('{reason}'))"))
                .await;
            browser.script("document.querySelectorAll('.failure').forEach(it => it.remove())").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_shown_replayed_sent_as_new_and_saved() {
    on_page(|browser, app| async move {
        let body = titled("shown", "A song");
        app.send_signed(SECRET, body.clone()).await;
        browser.open_row("shown", "accepted").await;
        let raw = browser
            .script("return document.querySelector('[data-testid=raw-body]').textContent")
            .await;
        assert_eq!(raw, json!(String::from_utf8(body).unwrap()));
        let typed = browser.text("typed-event").await;
        assert!(
            typed.contains("VideoProcessed {") && typed.contains("\"A song\""),
            "{typed}"
        );
        let detail = browser.element(By::Css("#detail")).await;
        let detail = detail.text().await.unwrap();
        for part in "verified|content-type|dispatcher|200, 4 bytes|done|POST /webhooks/".split('|')
        {
            assert!(detail.contains(part), "{part} in {detail}");
        }

        let keep = "HTMLAnchorElement.prototype.click = function () { window.saved = this.href }";
        browser.script(keep).await;
        browser.click("save").await;
        let saved = browser.script("return window.saved").await;
        assert_eq!(
            saved,
            format!("{}/api/records/{}.1/capture", app.base, app.instance)
        );

        browser.click("replay").await;
        browser.wait_for_text(".heading .badge", "duplicate").await;
        browser.row("shown", "duplicate").await;
        // The page renders this section again as more requests arrive, so the test waits for the
        // final text.
        browser
            .wait_for("document.querySelector('#related')?.textContent.includes('#1')")
            .await;

        browser.click("send-as-new").await;
        browser.wait_for_text(".heading .badge", "accepted").await;
        browser
            .wait_for("document.querySelector('.subtitle').textContent !== 'shown'")
            .await;
        assert!(browser.text("raw-body").await.contains("A song"));

        browser
            .click_on(By::Css("#sample-kind option[value='nan portal']"))
            .await;
        browser.click("send-sample").await;
        browser
            .wait_for(
                "document.querySelector('[data-testid=raw-body]')?.textContent.includes('NaN')",
            )
            .await;
    })
    .await;
}

/// SoundHash escapes all non-ASCII characters.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_can_be_read_and_a_deep_event_is_collapsed() {
    on_page(|browser, app| async move {
        app.send_signed(SECRET, titled("letters", "Título 🎵 \"\u{202e}"))
            .await;
        browser.open_row("letters", "accepted").await;
        let formatted = browser
            .script("return document.querySelector('[aria-label=\"Formatted body\"]').textContent")
            .await;
        let formatted = formatted.as_str().unwrap();
        // The invisible character, which reverses the text direction, stays escaped.
        assert!(
            formatted.contains(r#""title": "Título 🎵 \"\u202e""#),
            "{formatted}"
        );
        let raw = browser.text("raw-body").await;
        assert!(raw.contains(r"T\u00edtulo \ud83c"), "{raw}");
        browser.element(test_id("typed-event")).await;

        let (open, close) = ("[".repeat(20), "]".repeat(20));
        let deep = format!(r#"{{"id": "deep", "type": "x", "data": {open}1{close}}}"#);
        app.send_signed(SECRET, deep).await;
        browser.open_row("deep", "accepted").await;
        let typed = browser.find(test_id("typed-event")).await.unwrap();
        assert!(!typed.is_displayed().await.unwrap());
        browser.click_on(By::Css("summary")).await;
        browser.element(test_id("typed-event")).await;
    })
    .await;
}
