//! Fields and payloads that are unknown to this version.

use std::time::SystemTime;

use soundhash_webhook::{EventRouter, Payload, SchemaChange, SchemaChangeKind, UserCreated};
use tracing::Level;

use super::log::Log;
use super::*;

fn user(extra: &str) -> String {
    event(
        "user.created",
        &format!(r#"{{"user_id":1,"username":"n","email":"e",{extra}}}"#),
    )
}

#[track_caller]
fn seen(kind: SchemaChangeKind, detail: &str) -> SchemaChange {
    let mut seen = SchemaChange::seen().into_iter();
    let change = seen.find(|it| it.kind == kind && it.detail.contains(detail));
    change.unwrap_or_else(|| panic!("no {detail} in {:#?}", SchemaChange::seen()))
}

#[tokio::test]
async fn a_new_field_is_one_line_for_all_deliveries() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    for round in 0..3 {
        assert_eq!(
            deliver(&app, KEY, &user(r#""plan\u202e\n":"hidden""#)).await,
            200
        );
        let expected = match round {
            0 => {
                "INFO soundhash_webhook.delivery{id=\"evt_1\" event_type=\"user.created\"}: \
                 soundhash_webhook: webhook field unknown: SoundHash sends a field that this version \
                 does not parse. Nothing is lost: Delivery::body has the field. Update \
                 soundhash-webhook if you need it event_type=\"user.created\" \
                 field=\"data.plan\\\\u{202e}\\\\n\""
            }
            _ => "",
        };
        assert_eq!(log.take().trim(), expected);
    }
    let change = seen(SchemaChangeKind::UnknownField, "data.plan\\u{202e}");
    assert_eq!(
        (change.event_type.as_str(), change.count),
        ("user.created", 3)
    );
    assert!(change.first_seen <= SystemTime::now());
    assert_eq!(
        change.to_string(),
        "unknown field data.plan\\u{202e}\\n in user.created"
    );

    // Neither a test delivery nor a payload that fits is logged.
    let test = user(r#""by_the_test_button":1"#).replace("evt_1", r#"x","resource_type":"test"#);
    assert_eq!(deliver(&app, KEY, &test).await, 200);
    assert_eq!(deliver(&app, KEY, &user(r#""reset_at":1"#)).await, 200);
    assert_eq!(log.take(), "");
}

#[tokio::test]
async fn a_misfit_is_logged_with_its_field_and_without_its_value() {
    let (log, app) = (Log::up_to(Level::INFO), app());
    let body = event("video.processed", r#"{"video_id":1,"duration":"hidden"}"#);
    assert_eq!(deliver(&app, KEY, &body).await, 200);
    let misfit = "data.duration: invalid type: string, expected f64";
    let line = log.line();
    assert!(line.ends_with(&format!(" misfit=\"{misfit}\"")), "{line}");
    assert_eq!(seen(SchemaChangeKind::Misfit, misfit).count, 1);
}

#[tokio::test]
async fn a_router_notes_types_without_a_handler_and_fields_with_one() {
    let router = EventRouter::new().on(|_: Payload<UserCreated>| async {});
    let app = Router::new()
        .route("/", post(router))
        .layer(SoundHashWebhookLayer::new(KEY));
    for body in [event("made.up.for.router", "1"), user(r#""routed":1"#)] {
        assert_eq!(deliver(&app, KEY, &body).await, 200);
    }
    let seen_types = SchemaChange::seen();
    let is_noted = |it: &SchemaChange| {
        it.kind == SchemaChangeKind::UnknownType && it.event_type == "made.up.for.router"
    };
    assert!(seen_types.iter().any(is_noted), "{seen_types:#?}");
    assert_eq!(seen(SchemaChangeKind::UnknownField, "data.routed").count, 1);
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn events_with_new_fields_are_counted_by_type() {
    use metrics_util::debugging::DebuggingRecorder;

    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app();
    deliver(&app, KEY, &user(r#""a":1,"b":2"#)).await;
    deliver(
        &app,
        KEY,
        &event("made.up", "1").replace("\"id\"", "\"c\":1,\"id\""),
    )
    .await;
    let all = counted::recorded(&recorder);
    for event_type in ["user.created", "other"] {
        let name = format!("soundhash_webhook_unknown_fields_total{{event_type={event_type}}}");
        assert!(all.contains(&(name, vec![1.0])), "{all:#?}");
    }
}
