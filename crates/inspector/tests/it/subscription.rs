//! Tests subscriptions to records.

use http::StatusCode;
use soundhash_webhook::Sender;
use soundhash_webhook_inspector::Verdict;

use crate::support::{App, PATH, SECRET, titled};

#[tokio::test]
async fn a_subscriber_gets_each_record_with_everything_in_it() {
    let app = App::start().await;
    app.deliver().await;
    let mut records = app.inspector.subscribe();
    let body = titled("kept-id", "A song");
    app.send_signed(SECRET, body.clone()).await;
    app.send_signed("whsec_of_nobody", body.clone()).await;

    let accepted = records.recv().await.unwrap();
    assert_eq!(accepted.number(), 2);
    assert_eq!(accepted.verdict(), Verdict::Accepted);
    assert_eq!(accepted.status(), Some(StatusCode::OK));
    assert_eq!(accepted.event_id(), Some("kept-id"));
    assert_eq!(accepted.event_type(), Some("video.processed"));
    assert_eq!(accepted.sender(), Some(Sender::Dispatcher));
    assert_eq!((accepted.method(), accepted.path()), ("POST", PATH));
    assert_eq!(accepted.body(), body);
    assert_eq!((accepted.reason(), accepted.endpoint()), (None, None));
    assert!(accepted.is_verified());

    let rejected = records.recv().await.unwrap();
    assert_eq!(rejected.verdict(), Verdict::Rejected);
    assert_eq!(rejected.status(), Some(StatusCode::UNAUTHORIZED));
    let reason = "Signature does not match the body.";
    assert_eq!(rejected.reason(), Some(reason));
    assert!(!rejected.is_verified());
    assert!(!format!("{accepted:?} {rejected:?}").contains("A song"));
}

#[tokio::test]
async fn a_slow_subscriber_learns_how_much_it_missed() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).capacity(3)).await;
    let mut records = app.inspector.subscribe();
    for _ in 0..10 {
        app.deliver().await;
    }
    assert_eq!(records.recv().await.unwrap_err().skipped, 7);
    for number in 8..=10 {
        assert_eq!(records.recv().await.unwrap().number(), number);
    }
}

/// Records that were cleared do not count as missed.
#[tokio::test]
async fn cleared_records_are_not_missed_records() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    app.deliver().await;
    app.ask("POST", "/api/clear").send().await.unwrap();
    app.deliver().await;
    assert_eq!(records.recv().await.unwrap().number(), 3);
}

/// Attack: evict real deliveries with a flood of forged requests.
#[tokio::test]
async fn rejected_requests_do_not_displace_deliveries() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).capacity(3)).await;
    let mut records = app.inspector.subscribe();
    app.deliver().await;
    for _ in 0..10 {
        app.forge().await;
    }
    let first = records.recv().await.unwrap();
    assert_eq!((first.number(), first.verdict()), (1, Verdict::Accepted));
    assert_eq!(app.ask_json("GET", "/api/records/1").await["number"], 1);
}

/// Attack: evict real deliveries by repeating a recorded one.
#[tokio::test]
async fn repeated_deliveries_do_not_displace_others() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).capacity(3)).await;
    for id in ["first", "second"] {
        app.send_signed(SECRET, titled(id, "A song")).await;
    }
    for _ in 0..10 {
        app.send_signed(SECRET, titled("second", "A song")).await;
    }
    app.send_signed(SECRET, titled("third", "A song")).await;
    for (number, is_kept) in [(1, true), (2, true), (3, false), (12, true), (13, true)] {
        let record = app.ask_json("GET", &format!("/api/records/{number}")).await;
        assert_eq!(record["number"] == number, is_kept, "{record}");
    }
}
