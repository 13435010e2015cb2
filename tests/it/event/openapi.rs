//! `docs/openapi.json`, which describes the webhook and its events to other tools.
//!
//! `UPDATE_OPENAPI=1 cargo test openapi` writes the file. Read the change.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode, request};
use jsonschema::Validator;
use soundhash_webhook::{
    BoxError, EventKind, SIGNATURE_HEADER, SecretProvider, Secrets, Sender, SoundHashWebhookLayer,
    testing::sample,
};
use soundhash_webhook_tests::requests::{BODY, SECRET, sign, signed, text, with_signature};
use tower::ServiceExt;

use super::*;
use crate::support::{Script, Step, echo};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
const SENDERS: [Sender; 2] = [Sender::Portal, Sender::Dispatcher];
const TIME: &str = "#/components/schemas/Time";

/// The form of a JSON object, which is found by changing a sample and parsing it.
struct Shape {
    /// The schemas of the fields, without `null`.
    properties: BTreeMap<String, Value>,
    /// The smallest sets of fields that an object can have.
    needs: BTreeSet<BTreeSet<String>>,
}

impl Shape {
    /// Finds the form of the object at the JSON pointer `at` in `event`. Fields that the parser
    /// ignores do not belong to it.
    fn of(event: &Value, at: &str) -> Self {
        let fields = event.pointer(at).unwrap().as_object().unwrap();
        let mut properties = BTreeMap::new();
        let (mut required, mut optional) = (BTreeSet::new(), BTreeSet::new());
        for (key, own) in fields {
            let absent = parsed(&with(event, at, key, None), at);
            let understood = |value: &Value| {
                let present = parsed(&with(event, at, key, Some(value)), at);
                present.is_some() && present != absent
            };
            if !understood(own) {
                continue;
            }
            let schema = match own {
                Value::Array(_) => {
                    let item = Shape::of(event, &format!("{at}/{key}/0"));
                    json!({"type": "array", "items": item.schema()})
                }
                // The payload, which has a separate schema.
                Value::Object(_) => json!({}),
                _ => scalar(understood),
            };
            properties.insert(key.clone(), schema);
            match absent {
                None => required.insert(key.clone()),
                Some(_) => optional.insert(key.clone()),
            };
        }

        let fits = |needs: &BTreeSet<String>| {
            let mut event = event.clone();
            let object = event.pointer_mut(at).unwrap().as_object_mut().unwrap();
            object.retain(|key, _| needs.contains(key));
            parsed(&event, at).is_some()
        };
        let needs = match fits(&required) {
            true => BTreeSet::from([required]),
            // One of several optional fields is required.
            false => (optional.into_iter())
                .map(|key| required.iter().cloned().chain([key]).collect())
                .filter(fits)
                .collect(),
        };
        Shape { properties, needs }
    }

    /// Returns the form that objects of both forms have.
    fn or(mut self, other: Self) -> Self {
        for (key, schema) in other.properties {
            let known = self.properties.entry(key).or_insert(schema.clone());
            assert_eq!(*known, schema, "the senders disagree about the type");
        }
        self.needs.extend(other.needs);
        self
    }

    fn schema(&self) -> Value {
        let required: BTreeSet<&String> = (self.properties.keys())
            .filter(|&key| self.needs.iter().all(|needs| needs.contains(key)))
            .collect();
        let properties: BTreeMap<&String, Value> = (self.properties.iter())
            .map(|(key, schema)| match required.contains(key) {
                true => (key, schema.clone()),
                false => (key, or_null(schema)),
            })
            .collect();
        let mut object = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        if self.needs.len() > 1 {
            let alternatives = self.needs.iter().map(|needs| {
                let needs = || needs.iter().filter(|key| !required.contains(key));
                let not_null = needs().map(|key| (key.clone(), json!({"not": {"type": "null"}})));
                let not_null: BTreeMap<_, _> = not_null.collect();
                json!({"required": needs().collect::<Vec<_>>(), "properties": not_null})
            });
            object["anyOf"] = alternatives.collect();
        }
        object
    }
}

/// Parses the event, and returns `None` if the object at `at` is not as it should be.
fn parsed(event: &Value, at: &str) -> Option<Event> {
    let event = Event::from_slice(event.to_string().as_bytes()).ok()?;
    let fits = at.is_empty() || !matches!(event.data, EventData::Unrecognized(_));
    fits.then_some(event)
}

/// Returns the event with another value of a field, or without the field.
fn with(event: &Value, at: &str, key: &str, value: Option<&Value>) -> Value {
    let mut event = event.clone();
    let object = event.pointer_mut(at).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.to_owned(), value.clone()),
        None => object.remove(key),
    };
    event
}

/// Returns the schema of the values that are understood.
fn scalar(understood: impl Fn(&Value) -> bool) -> Value {
    let understood = |value: Value| understood(&value);
    match (understood(json!("text")), understood(json!(1))) {
        (true, true) => json!({"type": ["integer", "string"]}),
        (true, false) => json!({"type": "string"}),
        (false, true) if understood(json!(1.5)) => json!({"type": "number"}),
        (false, true) if understood(json!(-1)) => json!({"type": "integer"}),
        (false, true) => json!({"type": "integer", "minimum": 0}),
        (false, false) => json!({"$ref": TIME}),
    }
}

/// Returns the schema of a field that can also be `null`.
fn or_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    match &mut schema["type"] {
        Value::Array(types) => types.push("null".into()),
        Value::String(one) => schema["type"] = json!([one, "null"]),
        // `Time` has `null` itself.
        _ => schema = json!({"$ref": TIME}),
    }
    schema
}

/// Returns the schema of a payload and its name.
fn payload(kind: EventKind) -> (String, Value) {
    let [portal, dispatcher] = SENDERS.map(|sender| sample(kind, sender));
    let [one, other] = [&portal, &dispatcher].map(|event| Shape::of(event, "/data"));
    let mut examples = vec![&dispatcher["data"]];
    if one.needs != other.needs {
        examples.push(&portal["data"]);
    }
    let mut schema = one.or(other).schema();
    schema["description"] = format!("The payload of `{kind}`.").into();
    schema["examples"] = json!(examples);
    (format!("{kind:?}"), schema)
}

/// Returns the schema of an event with this sender's envelope.
fn envelope(sender: Sender) -> Value {
    let type_key = match sender {
        Sender::Portal => "event",
        Sender::Dispatcher => "type",
    };
    let mut events: Vec<Value> = (EventKind::ALL.iter())
        .map(|kind| {
            let payload = format!("#/components/schemas/{kind:?}");
            json!({"properties": {
                type_key: {"const": kind.as_str()},
                "data": {"$ref": payload},
            }})
        })
        .collect();
    let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    events.push(json!({
        "description": "SoundHash can add event types at any time.",
        "properties": {type_key: {"not": {"enum": known}}},
    }));
    if sender == Sender::Dispatcher {
        events.push(json!({
            "description": "A test delivery, with any type and any payload.",
            "properties": {"resource_type": {"const": "test"}},
            "required": ["resource_type"],
        }));
    }
    let mut schema = Shape::of(&sample(EventKind::UserCreated, sender), "").schema();
    schema["description"] = format!("An event with the envelope of SoundHash's {sender}.").into();
    schema["anyOf"] = events.into();
    schema
}

/// Returns the responses of the layer, which SoundHash records.
async fn responses() -> Value {
    struct Unavailable;

    impl SecretProvider for Unavailable {
        async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
            Err("the database is down".into())
        }
    }

    async fn respond<B>(
        layer: SoundHashWebhookLayer<impl SecretProvider>,
        request: Request<B>,
    ) -> (StatusCode, Value)
    where
        B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let Ok(response) = echo(layer).oneshot(request.map(Body::new)).await;
        let status = response.status();
        let names = ["WWW-Authenticate", "Retry-After"];
        let headers: BTreeMap<_, _> = (names.into_iter())
            .filter_map(|name| {
                let value = response.headers().get(name)?.to_str().unwrap();
                let header = json!({"schema": {"type": "string"}, "example": value});
                Some((name, header))
            })
            .collect();
        let mut documented = match status {
            StatusCode::OK => return (status, json!({})),
            _ => json!({"content": {"text/plain": {
                "schema": {"type": "string"},
                "example": text(response).await,
            }}}),
        };
        if !headers.is_empty() {
            documented["headers"] = json!(headers);
        }
        (status, documented)
    }

    let layer = || SoundHashWebhookLayer::new(SECRET);
    let forged = with_signature("0".repeat(64), Body::from(BODY));
    let stalled = with_signature(sign(BODY), Script::new(vec![Step::Stall]));
    let all = [
        (
            "The event is accepted. SoundHash does not send it again.",
            respond(layer(), signed(BODY)).await,
        ),
        (
            "The signature is missing or does not match the body.",
            respond(layer(), forged).await,
        ),
        (
            "The body did not arrive in time.",
            respond(layer().body_timeout(Duration::from_secs(1)), stalled).await,
        ),
        (
            "The body is over the limit.",
            respond(layer().max_body_size(1), signed(BODY)).await,
        ),
        (
            "The secrets cannot be looked up, or the memory for unfinished bodies is full.",
            respond(
                SoundHashWebhookLayer::with_provider(Unavailable),
                signed(BODY),
            )
            .await,
        ),
    ];
    let all = all.map(|(description, (status, mut response))| {
        response["description"] = description.into();
        (status.as_str().to_owned(), response)
    });
    json!(BTreeMap::from(all))
}

async fn document() -> Value {
    let mut schemas: BTreeMap<String, Value> =
        EventKind::ALL.iter().copied().map(payload).collect();
    schemas.insert("PortalEvent".into(), envelope(Sender::Portal));
    schemas.insert("DispatcherEvent".into(), envelope(Sender::Dispatcher));
    schemas.insert(
        "Event".into(),
        json!({"anyOf": [
            {"$ref": "#/components/schemas/DispatcherEvent"},
            {"$ref": "#/components/schemas/PortalEvent"},
        ]}),
    );
    schemas.insert(
        "Time".into(),
        json!({
            "description": "A time as Python prints it. It can have both an offset and a `Z`, which \
                            RFC 3339 does not allow. Microseconds are absent if they are zero.",
            "type": ["string", "null"],
            "examples": [
                "2024-01-15T10:30:00Z",
                "2026-11-23T08:55:32.330187+00:00",
                "2026-11-23T08:56:12.681555Z",
                "2026-11-23T08:56:12.681555+00:00Z",
            ],
        }),
    );
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "SoundHash webhooks",
            "version": "1.0.0",
            "description": "The requests that SoundHash sends to your URL. SoundHash can add fields and \
                            event types at any time. Its senders write numbers and strings as Python \
                            does, so a body can contain `NaN`, `Infinity` or half of a surrogate pair, \
                            which a strict JSON parser rejects.",
        },
        "webhooks": {"event": {"post": {
            "operationId": "receiveEvent",
            "summary": "Something happened at SoundHash.",
            "description": "SoundHash sends each event at least once, in any order. It retries after 60, \
                            120 and 240 seconds, with the same body and the same signature.",
            "parameters": [{
                "name": "X-Webhook-Signature",
                "in": "header",
                "required": true,
                "description": "The HMAC-SHA256 of the raw body under the secret of the endpoint, in \
                                lowercase hexadecimal digits.",
                "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "example": sign(BODY),
            }],
            "requestBody": {
                "required": true,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}},
            },
            "responses": responses().await,
        }}},
        "components": {"schemas": schemas},
    })
}

/// Returns the document in the file.
fn written() -> Value {
    serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap()
}

/// Returns the validator of a schema that can refer to the components of the document.
fn validator(mut schema: Value) -> Validator {
    schema["components"] = written()["components"].take();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn events() -> Validator {
    let mut document = written();
    let post = &mut document["webhooks"]["event"]["post"];
    validator(post["requestBody"]["content"]["application/json"]["schema"].take())
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

#[tokio::test(start_paused = true)]
async fn the_openapi_document_follows_the_types() {
    let expected = document().await;
    if env::var_os("UPDATE_OPENAPI").is_some() {
        let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
        fs::write(FILE, text).unwrap();
    }
    assert!(
        expected == written(),
        "docs/openapi.json is out of date. `UPDATE_OPENAPI=1 cargo test openapi` writes it"
    );
}

#[test]
fn the_openapi_document_fits_every_capture_and_every_sample() {
    let events = events();
    let all = authentic();
    assert!(all.len() > captures().len());
    for (name, event) in all {
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
        json!({"event": "match.found", "data": {"query_id": 1, "matches": [{}]}}),
    ] {
        assert!(!events.is_valid(&broken), "{broken}");
    }
}

/// Changes each field of each payload in each way, and also sets the fields of the other sender.
#[test]
fn the_openapi_document_and_the_parser_agree_about_payloads() {
    let events = events();
    let schemas = written()["components"]["schemas"].take();
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
    let mut compared = 0;
    for &kind in EventKind::ALL {
        let properties = schemas[format!("{kind:?}")]["properties"]
            .as_object()
            .unwrap();
        for sender in SENDERS {
            let event = sample(kind, sender);
            for (key, schema) in properties {
                // The parser ignores a time that it does not understand.
                let others = others.iter().filter(|_| schema["$ref"] != TIME);
                for value in [None, Some(&null)].into_iter().chain(others.map(Some)) {
                    let event = with(&event, "/data", key, value);
                    let fits = parsed(&event, "/data").is_some();
                    assert_eq!(events.is_valid(&event), fits, "{event}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn the_openapi_document_describes_the_signature() {
    let document = written();
    let parameter = &document["webhooks"]["event"]["post"]["parameters"][0];
    assert_eq!(
        parameter["name"].as_str().unwrap().to_lowercase(),
        SIGNATURE_HEADER.as_str()
    );
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
