//! The page's connection: shared between tabs, and lost.

use soundhash_webhook_inspector::Inspector;
use tokio::time::{Duration, Instant};

use super::driver::{in_browser, test_id};
use crate::support::{App, SECRET, titled};

/// A browser opens at most six connections to a host, and each stream would keep one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_seventh_tab_shows_the_list_as_fast_as_the_others() {
    in_browser(|browser| async move {
        let app = App::start().await;
        app.send_signed(SECRET, titled("before", "A song")).await;
        let mut tabs = vec![browser.window().await.unwrap()];
        let mut slowest = Duration::ZERO;
        for number in 1..=7 {
            if number > 1 {
                tabs.push(browser.new_tab().await.unwrap());
                let tab = tabs[number - 1].clone();
                browser.switch_to_window(tab).await.unwrap();
            }
            let started = Instant::now();
            browser.open(&app).await;
            browser.row("before", "accepted").await;
            let taken = started.elapsed();
            // A stream ends after 20 seconds.
            if number == 7 {
                assert!(taken < 5 * slowest + Duration::from_secs(2), "{taken:?}");
            }
            slowest = slowest.max(taken);
        }
        app.send_signed(SECRET, titled("shared", "A song")).await;
        for tab in &tabs {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.row("shared", "accepted").await;
        }
        // Another tab takes over from the tab that reads the stream.
        browser.switch_to_window(tabs[0].clone()).await.unwrap();
        browser.close_window().await.unwrap();
        app.send_signed(SECRET, titled("taken-over", "A song"))
            .await;
        for tab in &tabs[1..] {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.row("taken-over", "accepted").await;
        }
        app.ask("POST", "/api/clear").send().await.unwrap();
        for tab in &tabs[1..] {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.element(test_id("empty")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_says_that_the_application_is_gone() {
    in_browser(|browser| async move {
        let app = App::with(|_, url| Inspector::new().webhook_url(url)).await;
        browser.open(&app).await;
        assert!(browser.text("empty").await.contains("Waiting"));
        app.stop_page().await;
        let gone = browser.text("dead").await;
        assert!(gone.contains("does not respond"), "{gone}");
        let waiting = browser.find(test_id("empty")).await.unwrap();
        assert!(!waiting.is_displayed().await.unwrap());
    })
    .await;
}
