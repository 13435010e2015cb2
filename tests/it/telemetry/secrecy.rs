//! The log never contains a secret, a signature or a body.

use axum::{Router, routing::post};
use soundhash_webhook::{
    Event, Secret, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use tower::ServiceBuilder;
use tracing::Level;

use super::{KEY, OLD_KEY, VIDEO, app, deliver, event, log::Log, test_event};

/// Attack: read a secret, a customer's data or a replayable delivery from the log.
#[tokio::test]
async fn no_secret_signature_or_body_is_logged_at_any_level() {
    let both = Router::new().route("/", post(|_: Event| async {})).layer(
        ServiceBuilder::new()
            .layer(SoundHashWebhookLayer::new(KEY).previous_secret(OLD_KEY))
            .layer(IdempotencyLayer::new(MemoryStore::new(100))),
    );
    let bodies = [
        event("video.processed", VIDEO),
        event(
            "video.processed",
            r#"{"video_id":"hidden","title":["hidden"]}"#,
        ),
        event("match.found", r#"{"matches":"hidden"}"#),
        event("quota.warning", r#"{"used":"hidden"}"#),
        event("made.up", r#"{"a":"hidden"}"#),
        test_event("match.found").replace("true", "\"hidden\""),
        r#""hidden""#.to_owned(),
        "hidden".to_owned(),
        r#"{"event":"video.processed","data":{"title":"hidden"#.to_owned(),
    ];
    let log = Log::up_to(Level::TRACE);
    for app in [app(), both] {
        for body in &bodies {
            for key in [KEY, OLD_KEY, "other", KEY] {
                deliver(&app, key, body).await;
                let lines = log.take();
                assert!(!lines.is_empty());
                let signature = Secret::new(key).sign(body.as_bytes()).to_string();
                for secret in ["0nly", "hidden", &signature[..8]] {
                    assert!(!lines.contains(secret), "{lines}");
                }
            }
        }
    }
}
