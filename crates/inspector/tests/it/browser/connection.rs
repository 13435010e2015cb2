//! The page's connection, which is shared by tabs and can be lost.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http_body_util::BodyExt;
use soundhash_webhook_inspector::Inspector;
use tokio::{
    net::TcpListener,
    time::{Duration, Instant, sleep},
};

use super::driver::{in_browser, test_id};
use crate::support::{App, PATIENCE, SECRET, titled};

/// Counts a live-update stream as open until this is dropped.
struct Streams(Arc<AtomicUsize>);

impl Drop for Streams {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn count(State(streams): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    if !request.uri().path().ends_with("/api/events") {
        return next.run(request).await;
    }
    streams.fetch_add(1, Ordering::Relaxed);
    let open = Streams(streams);
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &open;
            frame
        }))
    })
}

/// A browser opens at most six connections to a host, and each stream occupies one of them.
#[tokio::test(flavor = "multi_thread")]
async fn seven_tabs_share_one_stream() {
    in_browser(|browser| async move {
        let app = App::start().await;
        let streams = Arc::<AtomicUsize>::default();
        let routes = Router::new()
            .nest("/inspector", app.inspector.routes())
            .layer(from_fn_with_state(streams.clone(), count));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/inspector", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        let one_stream = async |state: &str| {
            let deadline = Instant::now() + PATIENCE;
            while streams.load(Ordering::Relaxed) != 1 {
                assert!(Instant::now() < deadline, "{state}: not one stream");
                sleep(Duration::from_millis(20)).await;
            }
        };

        app.send_signed(SECRET, titled("before", "A song")).await;
        let mut tabs = vec![browser.window().await.unwrap()];
        for _ in 1..7 {
            tabs.push(browser.new_tab().await.unwrap());
        }
        for tab in &tabs {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.goto(&url).await.unwrap();
            browser.row("before", "accepted").await;
        }
        one_stream("all tabs are open").await;
        app.send_signed(SECRET, titled("shared", "A song")).await;
        for tab in &tabs {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.row("shared", "accepted").await;
        }
        // Another tab takes over when the tab that reads the stream is closed.
        browser.switch_to_window(tabs[0].clone()).await.unwrap();
        browser.close_window().await.unwrap();
        app.send_signed(SECRET, titled("after", "A song")).await;
        for tab in &tabs[1..] {
            browser.switch_to_window(tab.clone()).await.unwrap();
            browser.row("after", "accepted").await;
        }
        one_stream("the first tab is closed").await;
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
