//! Attacks on the page, through events and from other sites.

use axum::{Router, response::Html, routing::get};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use thirtyfour::By;
use tokio::{
    net::TcpListener,
    time::{Duration, sleep},
};

use super::driver::{in_browser, on_page};
use crate::support::{App, SECRET, call, titled};

const MARKUP: &str =
    "<img src=x onerror=alert(1)></script><script>window.attacked = true</script>\u{202e}";

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_events_is_inert() {
    on_page(|browser, app| async move {
        let images = "return document.images.length";
        let before = browser.script(images).await;
        app.send_signed(SECRET, titled("inert", MARKUP)).await;
        // The markup is also in the id, the type, the path, a header, and a body that is not JSON.
        let event = json!({"id": MARKUP, "type": MARKUP, "data": {MARKUP: MARKUP}}).to_string();
        app.send_signed(SECRET, event).await;
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_bytes(MARKUP.as_bytes()).unwrap());
        headers.insert("x-webhook-signature", HeaderValue::from_static("<img src=x onerror=alert(1)>"));
        app.send(headers, MARKUP).await;
        browser.wait_for("document.querySelectorAll('[data-testid=delivery]').length === 3").await;
        for number in 1..=3 {
            browser.script(&format!("location.hash = '#{number}'")).await;
            browser.wait_for(&format!("document.querySelector('.row[data-number=\"{number}\"] a[aria-current]') && !document.querySelector('#detail').hidden")).await;
            browser.wait_for("document.querySelector('[data-testid=raw-body]')?.textContent.includes('<img src=x')").await;
            if number == 3 {
                browser.click("explain").await;
            }
        }
        assert_eq!(browser.script(images).await, before);
        assert_eq!(browser.script("return window.attacked ?? null").await, json!(null));
        assert_eq!(browser.script("return document.scripts.length").await, json!(1));
    })
    .await;
}

/// A body can be deeply nested, and can have more brackets than a page can render.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_does_not_freeze_the_page() {
    on_page(|browser, app| async move {
        let bodies = [
            ("[", 60_000),
            ("[1,", 20_000),
            ("\"\\", 30_000),
            ("{\"a\":", 12_000),
        ];
        for (number, (part, times)) in (1..).zip(bodies) {
            app.send_signed(SECRET, part.repeat(times)).await;
            let row = format!("document.querySelector('.row[data-number=\"{number}\"]')");
            browser.wait_for(&row).await;
            browser
                .script(&format!("location.hash = '#{number}'"))
                .await;
            browser
                .wait_for_text(".subtitle", &format!("#{number}"))
                .await;
            let length = "return document.querySelector('#detail').textContent.length";
            let length = browser.script(length).await.as_u64().unwrap();
            assert!(length < 3_000_000, "{length}");
        }
    })
    .await;
}

async fn serve(html: String) -> String {
    let app = Router::new().route("/", get(|| async { Html(html) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(axum::serve(listener, app).into_future());
    // A browser treats this as a different site from 127.0.0.1.
    format!("http://localhost:{port}/")
}

/// A web terminal shows the URL as a link, and is another site.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_url_works_as_a_link_on_another_site() {
    in_browser(|browser| async move {
        let app = App::start().await;
        let terminal = serve(format!("<a id=link href='{}'>x</a>", app.page)).await;
        browser.goto(&terminal).await.unwrap();
        browser.click_on(By::Css("#link")).await;
        browser.element(By::Css("[data-state='live']")).await;
        // The address and the history do not keep the token.
        let url = browser.current_url().await.unwrap();
        assert_eq!(url.as_str(), app.base);
        browser.back().await.unwrap();
        let url = browser.current_url().await.unwrap();
        assert_eq!(url.as_str(), terminal);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_can_neither_frame_the_page_nor_act() {
    in_browser(|browser| async move {
        let app = App::start().await;
        app.send_signed(SECRET, titled("kept", "A song")).await;

        for url in [app.base.clone(), app.page.clone()] {
            let attacker = serve(format!("<iframe id=frame src='{url}'></iframe>")).await;
            browser.goto(&attacker).await.unwrap();
            browser.enter_frame(0).await.unwrap();
            browser.wait_for("location.href.startsWith('chrome-error:')").await;
            browser.enter_default_frame().await.unwrap();
        }

        let base = &app.base;
        let attacker = serve(format!(
            "<form id=form method=post action='{base}/api/clear'></form><script>\
             for (const path of ['clear', 'records/1/replay', 'samples']) {{\
               fetch('{base}/api/' + path, {{method: 'POST', mode: 'no-cors', credentials: 'include'}});\
             }}\
             fetch('{base}/api/state', {{credentials: 'include'}}).then(() => {{ window.read = true }}, () => {{ window.read = false }});\
             </script>"
        ))
        .await;
        browser.goto(&attacker).await.unwrap();
        browser.wait_for("window.read === false").await;
        browser.script("document.getElementById('form').submit()").await;
        sleep(Duration::from_millis(300)).await;
        // The list was not cleared, nothing was replayed, and no sample was sent.
        assert_eq!(call(&app.inspector, "GET", "/api/records/1").await["id"], "kept");
        assert_eq!(call(&app.inspector, "GET", "/api/records/2").await, json!(null));
    })
    .await;
}
