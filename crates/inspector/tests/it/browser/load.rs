//! A page that is open while a thousand deliveries arrive each second.

use axum::body::to_bytes;
use soundhash_webhook::{EventKind, Secret, Sender, testing::SignedRequest};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};
use tower::ServiceExt;

use super::driver::in_browser;
use crate::support::{App, SECRET, router, titled};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_stays_usable_at_a_thousand_deliveries_a_second() {
    in_browser(|browser| async move {
        let app = App::start().await;
        browser.open(&app).await;
        app.send_signed(SECRET, titled("first", "A song")).await;
        browser.row("first", "accepted").await;

        // Without a socket, so that even a busy machine reaches a thousand deliveries per second.
        let service = router().layer(app.inspector.layer());
        let sender = tokio::spawn(async move {
            let start = Instant::now();
            let mut ticks = interval(Duration::from_millis(10));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = 0_u32;
            while start.elapsed() < Duration::from_secs(3) {
                ticks.tick().await;
                for _ in 0..10 {
                    let request = SignedRequest::new(Secret::new(SECRET));
                    let request = request.fresh_sample(EventKind::MatchFound, Sender::Dispatcher);
                    let Ok(response) = service.clone().oneshot(request.build()).await;
                    to_bytes(response.into_body(), usize::MAX).await.unwrap();
                    sent += 1;
                }
            }
            f64::from(sent) / start.elapsed().as_secs_f64()
        });
        // The maximum time between two frames, and the maximum number of rows.
        browser
            .script(
                "window.worst = 0; window.rows = 0; let last = performance.now();
                 requestAnimationFrame(function frame(now) {
                   window.worst = Math.max(window.worst, now - last);
                   window.rows = Math.max(window.rows, document.querySelectorAll('.row').length);
                   last = now;
                   requestAnimationFrame(frame);
                 })",
            )
            .await;
        let mut slowest = Duration::ZERO;
        while !sender.is_finished() {
            let start = Instant::now();
            browser.script("location.hash = '#' + document.querySelector('.row').dataset.number").await;
            browser.wait_for("!document.querySelector('#detail').hidden").await;
            slowest = slowest.max(start.elapsed());
        }
        let rate = sender.await.unwrap();
        let worst = browser.script("return window.worst").await.as_f64().unwrap();
        let rows = browser.script("return window.rows").await.as_u64().unwrap();
        println!("{rate:.0} deliveries/s: longest frame {worst:.0} ms, slowest click {slowest:?}, at most {rows} rows");
        assert!(rows <= 400, "{rows}");
        // A page that draws every delivery would freeze for longer.
        assert!(worst < 5_000.0, "{worst}");
        // Afterwards, the page shows the latest deliveries.
        app.send_signed(SECRET, titled("last", "A song")).await;
        browser.row("last", "accepted").await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    })
    .await;
}
