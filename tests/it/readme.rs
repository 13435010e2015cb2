//! The README's code, which compiles and runs here. A test checks that both are the same.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{
    Event, EventData, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use soundhash_webhook::{EventKind, Sender, testing::SignedRequest};
use tower::{ServiceBuilder, ServiceExt};

async fn receive(event: Event) -> StatusCode {
    match event.data {
        EventData::VideoProcessed(video) => println!("processed {:?}", video.title),
        EventData::MatchFound(found) => println!("{} matches", found.matches.len()),
        other => println!("ignored {}", other.event_type()),
    }
    StatusCode::OK
}

fn app(secret: Secret) -> Router {
    Router::new()
        .route("/webhooks/soundhash", post(receive))
        .layer(SoundHashWebhookLayer::new(secret))
}

#[expect(dead_code, reason = "it compiles")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(secret)).await?;
    Ok(())
}

#[tokio::test]
async fn a_match_is_accepted() {
    let request =
        SignedRequest::new("whsec_test").fresh_sample(EventKind::MatchFound, Sender::Portal);
    let response = app(Secret::new("whsec_test"))
        .oneshot(request.build())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_was_recorded_long_ago_is_rejected() {
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

/// Removes everything that the formatter decides: the layout, commas at the ends of lines, imports.
fn dense(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.starts_with("use ") && *line != "#[tokio::main]");
    let code: String = lines.flat_map(str::split_whitespace).collect();
    code.replace(",)", ")")
}

#[test]
fn every_block_of_the_readme_is_here() {
    let here = dense(include_str!("readme.rs"));
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let (block, _) = block.split_once("```").unwrap();
        // The parts between empty lines can be anywhere in this file.
        for part in block.split("\n\n") {
            assert!(here.contains(&dense(part)), "not in this file:\n{part}");
        }
    }
}
