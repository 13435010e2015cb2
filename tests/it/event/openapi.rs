//! Checks that `docs/openapi.json`, which other tools use, agrees with the parser and the layer.

use std::fs;

use axum::body::Body;
use http::request;
use jsonschema::Validator;
use serde_json::Map;
use soundhash_webhook::{
    BoxError, EventKind, SIGNATURE_HEADER, SecretProvider, Secrets, Sender, SoundHashWebhookLayer,
    testing::sample,
};
use soundhash_webhook_tests::requests::{BODY, SECRET, sign, signed, text, with_signature};
use tower::ServiceExt;

use super::*;
use crate::support::{Script, Step, echo};

const SENDERS: [Sender; 2] = [Sender::Portal, Sender::Dispatcher];
const TIME: &str = "#/components/schemas/Time";

fn document() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Returns a validator for any event.
fn events() -> Validator {
    let mut document = document();
    let post = &mut document["webhooks"]["event"]["post"];
    let mut schema = post["requestBody"]["content"]["application/json"]["schema"].take();
    schema["components"] = document["components"].take();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Returns every event that SoundHash is known to send.
fn authentic() -> Vec<(String, Value)> {
    let captures = captures().into_iter();
    let captures = captures.map(|(name, body)| (name, serde_json::from_slice(&body).unwrap()));
    let kinds = EventKind::ALL.iter();
    let samples = kinds.flat_map(|&kind| {
        SENDERS.map(|sender| (format!("{kind} of {sender}"), sample(kind, sender)))
    });
    captures.chain(samples).collect()
}

#[test]
fn the_openapi_document_fits_every_capture_and_every_sample() {
    let events = events();
    for (name, event) in authentic() {
        assert!(events.is_valid(&event), "{name}: {event}");
    }
    for data in [
        json!({"title": "The quick start promises only this"}),
        json!({"video_id": "v", "title": "t", "duration": 1, "fingerprints_count": 3}),
        json!({"id": null, "video_id": 5, "title": null, "new": {"field": []}}),
    ] {
        let event = json!({"event": "video.processed", "data": data});
        assert!(events.is_valid(&event), "{event}");
    }
}

#[test]
fn the_openapi_document_rejects_what_soundhash_never_sends() {
    let events = events();
    let user = json!({"user_id": 1, "username": "u", "email": "e"});
    assert!(events.is_valid(&json!({"type": "user.created", "data": user})));
    for broken in [
        json!([]),
        json!({"data": user}),
        json!({"type": "user.created"}),
        json!({"type": 5, "data": user}),
        json!({"type": "user.created", "data": []}),
        json!({"type": "user.created", "data": {}}),
        json!({"type": "user.created", "data": user, "id": {}}),
        json!({"event": "video.processed", "data": {"duration": 1}}),
        json!({"event": "video.processed", "data": {"title": null, "id": null}}),
        json!({"event": "match.found", "data": {"query_id": 1, "matches": null}}),
    ] {
        assert!(!events.is_valid(&broken), "{broken}");
    }
}

/// Parses the event, and returns `None` if its payload does not fit its type.
fn parsed(event: &Value) -> Option<Event> {
    let event = Event::from_slice(event.to_string().as_bytes()).unwrap();
    (!matches!(event.data, EventData::Unrecognized(_))).then_some(event)
}

/// Returns a copy of the event in which a field of the object at `at` is replaced or removed.
fn with(event: &Value, at: &str, key: &str, value: Option<&Value>) -> Value {
    let mut event = event.clone();
    let object = event.pointer_mut(at).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.to_owned(), value.clone()),
        None => object.remove(key),
    };
    event
}

/// Checks that the schema has every field that the parser reads from the object at `at`.
fn has_all_fields(properties: &Map<String, Value>, event: &Value, at: &str) {
    for key in event.pointer(at).unwrap().as_object().unwrap().keys() {
        if !["type", "event", "data"].contains(&key.as_str())
            && parsed(&with(event, at, key, None)) != parsed(event)
        {
            assert!(properties.contains_key(key), "no {at}/{key} of {event}");
        }
    }
}

/// Removes each field of the object at `at`, including the other sender's fields, or replaces it
/// with values of every JSON type, and checks that the schema and the parser still agree. Returns
/// the number of events checked.
fn agree(events: &Validator, schema: &Value, event: &Value, at: &str) -> usize {
    let null = json!(null);
    let others = [
        json!(1),
        json!(1.5),
        json!(-1),
        json!("text"),
        json!(true),
        json!([]),
        json!({}),
    ];
    let properties = schema["properties"].as_object().unwrap();
    has_all_fields(properties, event, at);
    let mut compared = 0;
    for (key, schema) in properties {
        // The parser ignores times that it cannot parse, so such values are not tried here.
        let others = others.iter().filter(|_| schema["$ref"] != TIME);
        for value in [None, Some(&null)].into_iter().chain(others.map(Some)) {
            let event = with(event, at, key, value);
            let fits = parsed(&event).is_some();
            assert_eq!(events.is_valid(&event), fits, "{event}");
            compared += 1;
        }
        let item = format!("{at}/{key}/0");
        if event.pointer(&item).is_some() {
            compared += agree(events, &schema["items"], event, &item);
        }
    }
    compared
}

#[test]
fn the_openapi_document_and_the_parser_agree() {
    let events = events();
    let schemas = document()["components"]["schemas"].take();
    let mut compared = 0;
    for &kind in EventKind::ALL {
        let schema = &schemas[format!("{kind:?}")];
        let example = &sample(kind, Sender::Dispatcher)["data"];
        assert_eq!(schema["examples"][0], *example);
        for (sender, name) in SENDERS.into_iter().zip(["PortalEvent", "DispatcherEvent"]) {
            let event = sample(kind, sender);
            has_all_fields(schemas[name]["properties"].as_object().unwrap(), &event, "");
            compared += agree(&events, schema, &event, "/data");
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn the_openapi_document_describes_the_signature() {
    let parameter = &document()["webhooks"]["event"]["post"]["parameters"][0];
    let name = parameter["name"].as_str().unwrap().to_lowercase();
    assert_eq!(name, SIGNATURE_HEADER.as_str());
    assert_eq!(parameter["example"], sign(BODY));
    let signature = jsonschema::draft202012::new(&parameter["schema"]).unwrap();
    assert!(signature.is_valid(&json!(sign(BODY))));
    for other in [
        sign(BODY).to_uppercase(),
        format!("sha256={}", sign(BODY)),
        String::new(),
    ] {
        assert!(!signature.is_valid(&json!(other)), "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_openapi_document_shows_the_responses_of_the_layer() {
    struct Unavailable;

    impl SecretProvider for Unavailable {
        async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
            Err("the database is down".into())
        }
    }

    let layer = || echo(SoundHashWebhookLayer::new(SECRET));
    let unavailable = echo(SoundHashWebhookLayer::with_provider(Unavailable));
    let small = echo(SoundHashWebhookLayer::new(SECRET).max_body_size(1));
    let forged = with_signature("0".repeat(64), Body::from(BODY));
    let stalled = Body::new(Script::new([Step::Stall]));
    let responses = [
        (200, layer().oneshot(signed(BODY)).await),
        (401, layer().oneshot(forged).await),
        (
            408,
            layer().oneshot(with_signature(sign(BODY), stalled)).await,
        ),
        (413, small.oneshot(signed(BODY)).await),
        (503, unavailable.oneshot(signed(BODY)).await),
    ];
    let documented = document()["webhooks"]["event"]["post"]["responses"].take();
    assert_eq!(documented.as_object().unwrap().len(), responses.len());
    for (status, Ok(response)) in responses {
        assert_eq!(response.status(), status);
        let documented = &documented[status.to_string()];
        for name in ["WWW-Authenticate", "Retry-After"] {
            let value = response.headers().get(name).map(|it| it.to_str().unwrap());
            assert_eq!(documented["headers"][name]["example"].as_str(), value);
        }
        if status != 200 {
            let example = &documented["content"]["text/plain"]["example"];
            assert_eq!(*example, text(response).await);
        }
    }
}
