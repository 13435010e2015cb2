//! The README's code, with the parts that its blocks omit. A test checks that each block of the
//! README is in this file, where it compiles and runs.

use std::time::Duration;

use soundhash_webhook::{
    EventKind,
    idempotency::{IdempotencyLayer, MemoryStore},
    testing::{Sender, SignedRequest},
};
use tower::{ServiceBuilder, ServiceExt};

// From here on, the code is that of the README.
use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{Event, EventData, Secret, SoundHashWebhookLayer};

async fn receive(event: Event) -> StatusCode {
    match event.data {
        EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
        EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
        other => println!("not for us: {}", other.event_type()),
    }
    StatusCode::OK
}

fn app(secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::new(secret))
}

#[tokio::test]
async fn a_match_is_accepted() {
    let request = SignedRequest::new("whsec_test");
    let request = request
        .fresh_sample(EventKind::MatchFound, Sender::Portal)
        .build();
    let response = app(Secret::new("whsec_test"))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_was_recorded_long_ago_is_refused() {
    let secret = Secret::new("whsec_test");
    let layers = ServiceBuilder::new()
        .layer(SoundHashWebhookLayer::new(secret))
        .layer(
            IdempotencyLayer::new(MemoryStore::new(100_000)).max_age(Duration::from_secs(15 * 60)),
        );
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(layers);
    let recorded = SignedRequest::new("whsec_test").build();
    let status = app.oneshot(recorded).await.unwrap().status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// Removes the formatter's line breaks, and its commas at the ends of lines.
fn dense(code: &str) -> String {
    let code: String = code.split_whitespace().collect();
    code.replace(",)", ")")
}

#[test]
fn every_block_of_the_readme_stands_here() {
    let here = dense(include_str!("readme.rs"));
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let (block, _) = block.split_once("```").unwrap();
        assert!(here.contains(&dense(block)), "not in this file:\n{block}");
    }
}
