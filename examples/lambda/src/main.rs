//! `cargo lambda build --release -p soundhash-webhook-lambda-example`
//!
//! Receives SoundHash webhooks in AWS Lambda, behind a function URL, an API Gateway (HTTP or REST),
//! or a load balancer, and prints each event's type and id once.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SOUNDHASH_WEBHOOK_SECRET` | the endpoint's secret |
//! | `SOUNDHASH_WEBHOOK_REDIS` | the URL of the Redis server that all instances share; `rediss://` for TLS |
//!
//! Set the function's timeout to 30 seconds, which is how long SoundHash waits for a response. The
//! default is 3 seconds. If Redis hangs, the program logs that and responds with 503 after 5 seconds.
//! With the default, Lambda ends the program before that, and nothing is logged. If the event was
//! already claimed, its retries get a 503 until the claim expires after a minute.
//!
//! Lambda freezes the process after the response, so a spawned task may never run. Do the work
//! before responding, or put it into a queue. A `MemoryStore` would miss most duplicates, because
//! the instances do not share memory.

use std::{env, io};

use axum::{Router, http::StatusCode, routing::post};
use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer, idempotency::IdempotencyLayer};
use soundhash_webhook_redis::RedisStore;

async fn receive(event: Event) -> StatusCode {
    // These strings are printed with `Debug`, which escapes them, because the sender chooses them.
    println!("{:?} {:?}", event.event_type(), event.id);
    StatusCode::OK
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    // CloudWatch adds the time, and does not show colors.
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .init();
    let secret = Secret::from_env("SOUNDHASH_WEBHOOK_SECRET")?;
    let redis = env::var("SOUNDHASH_WEBHOOK_REDIS");
    let redis = redis.map_err(|_| "SOUNDHASH_WEBHOOK_REDIS is not set, or not UTF-8")?;
    let store = RedisStore::connect(redis).await?;
    let app = Router::new()
        .route("/webhooks/soundhash", post(receive))
        // API Gateway can prefix the path with the name of the stage.
        .route("/{stage}/webhooks/soundhash", post(receive))
        .route_layer(IdempotencyLayer::new(store))
        .route_layer(SoundHashWebhookLayer::new(secret));
    lambda_http::run(app).await
}
