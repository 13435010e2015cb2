//! The page's connection, which is shared by tabs and can be lost.

use std::{
    future::pending,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use http_body_util::BodyExt;
use soundhash_webhook::testing::SignedRequest;
use soundhash_webhook_inspector::Inspector;
use thirtyfour::By;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
    task::block_in_place,
    time::{Duration, Instant, sleep},
};
use tower::ServiceExt;

use super::driver::{in_browser, test_id};
use crate::support::{App, PATIENCE, SECRET, router, titled};

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

/// An application whose router has the page at `/inspector`. Stopping it cuts off all connections, as
/// a restart does.
struct Process {
    inspector: Inspector,
    addr: SocketAddr,
    runtime: Option<Runtime>,
}

impl Process {
    fn start(addr: impl ToSocketAddrs) -> Self {
        let listener = std::net::TcpListener::bind(addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let inspector = Inspector::new().with_secret(SECRET);
        let routes = Router::new().nest("/inspector", inspector.routes());
        let runtime = Runtime::new().unwrap();
        runtime.spawn(async {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await
        });
        Self {
            inspector,
            addr,
            runtime: Some(runtime),
        }
    }

    /// Delivers an event to the application, but not through its socket.
    async fn deliver(&self, id: &str) {
        let request = SignedRequest::new(SECRET).body(titled(id, "A song"));
        let app = router().layer(self.inspector.layer());
        let Ok(response) = app.oneshot(request.build()).await;
        to_bytes(response.into_body(), usize::MAX).await.unwrap();
    }

    /// Stops the application, and starts it again at the same address.
    fn restart(mut self) -> Self {
        let runtime = self.runtime.take().unwrap();
        block_in_place(|| runtime.shutdown_timeout(PATIENCE));
        Self::start(self.addr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Dropping a runtime would panic here.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A restarted application numbers its records from 1 again.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_page_shows_nothing_of_the_earlier_process() {
    in_browser(|browser| async move {
        let process = Process::start("127.0.0.1:0");
        for id in ["old-1", "old-2"] {
            process.deliver(id).await;
        }
        let url = format!("http://{}/inspector", process.addr);
        browser.goto(&url).await.unwrap();
        browser.open_row("old-2", "accepted").await;
        // The second delivery is due in 10 s.
        browser.click("again").await;
        browser
            .script("document.querySelector('#run-rate').value = '0.1'")
            .await;
        browser.click("run-start").await;
        browser
            .wait_for_text("[data-testid=run-close]", "Stop")
            .await;

        let process = process.restart();
        for id in ["new-1", "new-2"] {
            process.deliver(id).await;
        }
        browser.row("new-2", "accepted").await;
        browser
            .wait_for("document.querySelector('#detail').hidden && !location.hash")
            .await;
        browser
            .wait_for("document.querySelector('#banner').textContent.includes('was restarted')")
            .await;
        browser
            .wait_for("document.querySelector('#run').hidden")
            .await;
        // The buttons use what the page shows now.
        browser.open_row("new-1", "accepted").await;
        browser.click("replay").await;
        browser.row("new-1", "accepted").await;
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
        assert!(gone.contains("No connection"), "{gone}");
        let waiting = browser.find(test_id("empty")).await.unwrap();
        assert!(!waiting.is_displayed().await.unwrap());
    })
    .await;
}

/// A tunnel that can stop passing on bytes without closing its connections, as `ssh -L` does after
/// the machine has slept.
struct Tunnel {
    is_dead: watch::Sender<bool>,
    port: u16,
}

impl Tunnel {
    async fn to(authority: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_dead = watch::Sender::new(false);
        let (authority, dead) = (authority.to_owned(), is_dead.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (authority, mut dead) = (authority.clone(), dead.subscribe());
                tokio::spawn(async move {
                    let pass = async {
                        let mut far = TcpStream::connect(authority).await.unwrap();
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    };
                    tokio::select! {
                        biased;
                        _ = dead.wait_for(|dead| *dead) => {}
                        () = pass => return,
                    }
                    pending::<()>().await;
                });
            }
        });
        Self { is_dead, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_silently_is_noticed_and_replaced() {
    in_browser(|browser| async move {
        let app = App::start().await;
        let origin = app.origin().strip_prefix("http://").unwrap();
        let tunnel = Tunnel::to(origin).await;
        let url = (app.page).replace(origin, &format!("127.0.0.1:{}", tunnel.port));
        browser.goto(&url).await.unwrap();
        browser.element(By::Css("[data-state='live']")).await;
        tunnel.is_dead.send_replace(true);
        app.send_signed(SECRET, titled("meanwhile", "A song")).await;
        browser.element(By::Css("[data-state='lost']")).await;
        tunnel.is_dead.send_replace(false);
        browser.row("meanwhile", "accepted").await;
        browser.element(By::Css("[data-state='live']")).await;
    })
    .await;
}

/// A proxy responds with 502 while the application is restarted, and a browser does not reconnect
/// after an error status.
#[tokio::test(flavor = "multi_thread")]
async fn live_updates_continue_after_an_error_status() {
    async fn fail(State(status): State<Arc<AtomicU16>>, request: Request, next: Next) -> Response {
        let status = status.load(Ordering::Relaxed);
        let path = request.uri().path();
        match path.ends_with("/api/events") || (status == 404 && path.contains("/api/")) {
            true if status != 200 => StatusCode::from_u16(status).unwrap().into_response(),
            _ => next.run(request).await,
        }
    }
    in_browser(|browser| async move {
        let status = Arc::new(AtomicU16::new(502));
        let routes = Router::new()
            .nest("/inspector", Inspector::new().routes())
            .layer(from_fn_with_state(status.clone(), fail));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/inspector", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        browser.goto(&url).await.unwrap();
        // The page tries again by itself, and only a 4xx means that it has become useless.
        for (sent, state) in [(502, "lost"), (404, "gone"), (200, "live")] {
            status.store(sent, Ordering::Relaxed);
            let shown = By::Css(format!("[data-state='{state}']"));
            browser.element(shown).await;
        }
        assert!(browser.text("empty").await.contains("Waiting"));
    })
    .await;
}

/// The address of the page is random, so this page cannot connect again.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_earlier_server_says_so() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
        let addr = app.origin().strip_prefix("http://").unwrap().to_owned();
        app.stop_page().await;
        // This takes less time than the page waits before it says that it reconnects.
        let server = Inspector::new().bind(addr).await.unwrap();
        tokio::spawn(server.run());
        browser.element(By::Css("[data-state='gone']")).await;
        sleep(Duration::from_secs(2)).await;
        let state = "return document.querySelector('#connection').dataset.state";
        assert_eq!(browser.script(state).await, "gone");
        let banner = browser.element(By::Css("#banner")).await;
        assert!(banner.text().await.unwrap().contains("new address"));
    })
    .await;
}
