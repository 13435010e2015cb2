//! How the page looks.

use std::{env, path::Path, time::Duration};

use serde_json::json;
use soundhash_webhook::EventKind;
use tokio::time::sleep;

use super::driver::{Browser, in_browser};
use crate::support::{App, SECRET, body, titled};

/// One request of each verdict.
async fn send_some(app: &App) {
    for kind in [EventKind::VideoUploaded, EventKind::VideoProcessing] {
        app.send_signed(SECRET, body(kind)).await;
    }
    app.send_signed("whsec_of_nobody", body(EventKind::SubscriptionUpdated))
        .await;
    let video = body(EventKind::VideoProcessed);
    app.send_signed(SECRET, video.clone()).await;
    app.send_signed(SECRET, body(EventKind::JobFailed)).await;
    app.send_signed(SECRET, video).await;
    // A file without its last line break is a usual reason.
    let found = body(EventKind::MatchFound);
    app.send_signed(SECRET, found.clone()).await;
    let night = titled("k2Qw8vXn0JmZr4TbLs9dYA", "Night Drive");
    let signature = soundhash_webhook::Secret::new(SECRET).sign(&[&night[..], b"\n"].concat());
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(
        "x-webhook-signature",
        signature.to_string().parse().unwrap(),
    );
    headers.insert("user-agent", "SoundHash-Webhook/1.0".parse().unwrap());
    headers.insert("x-tenant-token", "t0ps3cret".parse().unwrap());
    app.send(
        headers,
        titled("k2Qw8vXn0JmZr4TbLs9dYA", "Night Drive – live at Tempelhof"),
    )
    .await;
    app.send_signed(SECRET, body(EventKind::ApiLimitReached))
        .await;
}

async fn photograph(browser: &Browser, name: &str) {
    sleep(Duration::from_millis(1500)).await;
    let folder = env::var("SCREENSHOTS").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    browser
        .screenshot(&Path::new(&folder).join(name))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn trial() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.set_size(1280, 840).await;
        browser.open(&app).await;
        photograph(&browser, "empty.png").await;
        send_some(&app).await;
        for scheme in ["light", "dark"] {
            browser.set_scheme(scheme).await;
            browser.set_size(1280, 840).await;
            browser.open_row("k2Qw8vXn0JmZr4TbLs9dYA", "rejected").await;
            browser.click("explain").await;
            photograph(&browser, &format!("{scheme}-1280.png")).await;
            browser.set_size(400, 800).await;
            photograph(&browser, &format!("{scheme}-400-detail.png")).await;
            println!("{:?}", browser.violations().await);
            browser.press("\u{e00c}").await;
            photograph(&browser, &format!("{scheme}-400.png")).await;
            println!("{:?}", browser.violations().await);
            println!(
                "{}",
                browser
                    .script("return document.documentElement.scrollWidth")
                    .await
            );
        }
        println!("{:?} {}", browser.console().await, json!(0));
    })
    .await;
}
