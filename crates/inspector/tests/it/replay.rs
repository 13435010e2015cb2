//! Tests the requests that the inspector sends, and their outcomes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::to_bytes,
    extract::{ConnectInfo, MatchedPath, OriginalUri, Path, State},
    http::{HeaderMap, Uri},
    routing::post,
};
use serde_json::{Value, json};
use soundhash_webhook::{
    Delivery, Event, EventKind, Secret, Secrets, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
    testing::SignedRequest,
};
use soundhash_webhook_inspector::{Inspector, Record, Verdict};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tower::ServiceExt;

use crate::support::{
    App, PATH, SECRET, body, call, call_exactly, client, from_portal, instance, router, titled,
};

async fn act(app: &App, path: &str, request: Value) -> Value {
    let request = app
        .ask("POST", path)
        .header("content-type", "application/json")
        .body(request.to_string());
    serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
}

fn sample() -> Value {
    json!({"sample": "match.found", "sender": "portal"})
}

/// Requests an action that is not possible, and returns the reason given.
async fn cannot_send(app: &App, path: &str) -> String {
    let result = act(app, path, sample()).await;
    result["error"].as_str().unwrap().to_owned()
}

/// Runs an action, and returns the record of the request that it sent.
async fn sent(app: &App, path: &str) -> Arc<Record> {
    let mut records = app.inspector.subscribe();
    let result = act(app, path, sample()).await;
    let record = records.recv().await.unwrap();
    assert_eq!(result["number"], record.number(), "{result}");
    record
}

#[tokio::test]
async fn a_replayed_event_is_a_duplicate() {
    let app = App::start().await;
    let body = body(EventKind::MatchFound);
    app.send_signed(SECRET, body.clone()).await;
    let replayed = sent(&app, "/api/records/1/replay").await;
    assert_eq!(replayed.verdict(), Verdict::Duplicate);
    assert_eq!(replayed.body(), body);
    assert!(replayed.is_verified());
    let detail = app.ask_json("GET", "/api/records/2").await;
    assert_eq!(detail["replay_of"], 1);
    // Retries of the same event are linked.
    assert_eq!(detail["related"][0]["number"], 1);
}

#[tokio::test]
async fn requests_are_linked_if_they_have_the_same_event() {
    let inspector = Inspector::new().with_secret(SECRET);
    let app = |endpoint: &'static str| {
        let secrets = Secrets::new(Secret::new(SECRET)).endpoint(endpoint);
        Router::new()
            .route(PATH, post(|| async {}))
            .layer(SoundHashWebhookLayer::with_provider(secrets))
            .layer(inspector.layer())
    };
    let song = from_portal("same", "A song");
    for (endpoint, secret, body) in [
        ("a", SECRET, &song),
        // Another attempt by the sender, with the wrong secret.
        ("a", "whsec_of_nobody", &song),
        ("a", SECRET, &song),
        ("a", SECRET, &from_portal("same", "Another song")),
        ("b", SECRET, &song),
    ] {
        let request = SignedRequest::new(secret).body(body.clone()).build();
        app(endpoint).oneshot(request).await.unwrap();
    }
    for (number, expected) in [
        (1, vec![2, 3]),
        (2, vec![1, 3, 5]),
        (3, vec![1, 2]),
        (4, vec![]),
        (5, vec![2]),
    ] {
        let detail = call(&inspector, "GET", &format!("/api/records/{number}")).await;
        let related = detail["related"].as_array().unwrap().iter();
        let mut related: Vec<u64> = related.map(|it| it["number"].as_u64().unwrap()).collect();
        related.sort_unstable();
        assert_eq!(related, expected, "{number}");
    }
}

#[tokio::test]
async fn a_replayed_event_can_be_too_old() {
    let inspector = Inspector::new().with_secret(SECRET);
    let app = Router::new()
        .route(PATH, post(|_: Event| async {}))
        .layer(IdempotencyLayer::new(MemoryStore::new(10)).max_age(Duration::from_secs(900)))
        .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
        .layer(inspector.layer());
    let old = SignedRequest::new(SECRET).body(titled("old", "x"));
    app.oneshot(old.build()).await.unwrap();
    let mut records = inspector.subscribe();
    for path in ["/api/records/1/replay", "/api/records/1/send-as-new"] {
        call(&inspector, "POST", path).await;
    }
    let replayed = records.recv().await.unwrap();
    assert_eq!(replayed.verdict(), Verdict::Rejected);
    assert_eq!(replayed.reason(), Some("Event is too old."));
    assert_eq!(records.recv().await.unwrap().verdict(), Verdict::Accepted);
}

#[tokio::test]
async fn an_event_that_is_sent_as_new_is_accepted_with_the_same_payload() {
    let app = App::start().await;
    app.send_signed(SECRET, titled("first", "A song")).await;
    let new = sent(&app, "/api/records/1/send-as-new").await;
    assert_eq!(new.verdict(), Verdict::Accepted);
    assert_ne!(new.event_id(), Some("first"));
    assert!(String::from_utf8_lossy(new.body()).contains("A song"));
    let again = sent(&app, "/api/records/1/send-as-new").await;
    assert_ne!(again.event_id(), new.event_id());
}

/// The page of an application that was restarted still shows the earlier deliveries, whose numbers
/// now belong to others.
#[tokio::test]
async fn an_action_on_an_earlier_process_record_acts_on_no_other() {
    let inspector = Inspector::new().with_secret(SECRET);
    let app = router().layer(inspector.layer());
    app.oneshot(SignedRequest::new(SECRET).build())
        .await
        .unwrap();
    let before = instance(&Inspector::new()).await;
    for id in [format!("{before}.1"), "1".to_owned(), ".1".to_owned()] {
        let of = |action: &str| format!("/api/records/{id}{action}");
        for (method, action) in [
            ("POST", "/replay"),
            ("POST", "/send-as-new"),
            ("POST", "/explain"),
            ("GET", "/capture"),
        ] {
            let result = call_exactly(&inspector, method, &of(action)).await;
            let error = result["error"].as_str().unwrap();
            assert!(error.contains("was restarted"), "{id} {action}: {error}");
        }
        let detail = call_exactly(&inspector, "GET", &of("")).await;
        assert_eq!(detail, Value::Null, "{id}");
    }
    assert_eq!(call(&inspector, "GET", "/api/records/1").await["number"], 1);
    assert_eq!(
        call(&inspector, "GET", "/api/records/2").await,
        Value::Null,
        "nothing was sent"
    );
}

/// Attack: get a forged event signed with the real secret.
#[tokio::test]
async fn a_forgery_is_rejected_again_and_cannot_be_sent_as_new() {
    let app = App::start().await;
    app.forge().await;
    let replayed = sent(&app, "/api/records/1/replay").await;
    assert_eq!(replayed.verdict(), Verdict::Rejected);
    let error = cannot_send(&app, "/api/records/1/send-as-new").await;
    assert!(error.starts_with("Only a verified delivery"), "{error}");
}

#[tokio::test]
async fn a_replay_keeps_the_senders_address_and_headers() {
    async fn receive(
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        headers: HeaderMap,
        _: Delivery,
    ) -> String {
        format!("{peer} {}", headers["x-tenant"].to_str().unwrap())
    }
    let inspector = Inspector::new().with_secret(SECRET);
    let app = Router::new()
        .route(PATH, post(receive))
        .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
        .layer(inspector.layer());
    let request = SignedRequest::new(SECRET).header("x-tenant", "acme");
    let mut request = request.build();
    let peer = SocketAddr::from(([192, 0, 2, 1], 4321));
    request.extensions_mut().insert(ConnectInfo(peer));
    app.oneshot(request).await.unwrap();
    call(&inspector, "POST", "/api/records/1/replay").await;
    let detail = call(&inspector, "GET", "/api/records/2").await;
    assert_eq!(detail["response"]["body"], "192.0.2.1:4321 acme");
}

/// With `Router::layer`, the layer wraps each route, so a replay does not pass through the router.
#[tokio::test]
async fn a_replay_has_what_the_router_adds() {
    async fn receive(
        Path(tenant): Path<String>,
        path: MatchedPath,
        OriginalUri(original): OriginalUri,
        uri: Uri,
        Extension(peer): Extension<SocketAddr>,
        _: Delivery,
    ) -> String {
        format!("{tenant} {} {original} {uri} {peer}", path.as_str())
    }
    for is_outside in [false, true] {
        let inspector = Inspector::new().with_secret(SECRET);
        let layers = (
            inspector.layer(),
            SoundHashWebhookLayer::new(Secret::new(SECRET)),
        );
        let mut app = Router::new().route("/hooks/{tenant}", post(receive));
        if !is_outside {
            app = app.layer(layers.clone());
        }
        let mut app = Router::new().nest("/v1", app);
        if is_outside {
            app = app.layer(layers);
        }
        let request = SignedRequest::new(SECRET).uri("/v1/hooks/a%20b?x=1");
        let mut request = request.build();
        let peer = SocketAddr::from(([192, 0, 2, 1], 4321));
        request.extensions_mut().insert(peer);
        let expected = "a b /v1/hooks/{tenant} /v1/hooks/a%20b?x=1 /hooks/a%20b?x=1 192.0.2.1:4321";
        let response = app.oneshot(request).await.unwrap();
        to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let actions = ["/api/records/1/replay", "/api/records/1/send-as-new"];
        for action in actions {
            call(&inspector, "POST", action).await;
        }
        for number in 1..=3 {
            let detail = call(&inspector, "GET", &format!("/api/records/{number}")).await;
            assert_eq!(detail["response"]["body"], expected, "{number}");
            assert_eq!(detail["peer"], "192.0.2.1:4321", "{number}");
        }
    }
}

/// A worker that ends when the last sender is gone would otherwise wait forever.
#[tokio::test]
async fn clearing_the_records_drops_the_application() {
    let (jobs, mut worker) = mpsc::channel::<()>(1);
    let inspector = Inspector::new().with_secret(SECRET);
    let app = Router::new()
        .route(PATH, post(async |_: State<mpsc::Sender<()>>| {}))
        .layer(inspector.layer())
        .with_state(jobs);
    let request = SignedRequest::new(SECRET).build();
    app.oneshot(request).await.unwrap();
    assert_eq!(worker.try_recv(), Err(TryRecvError::Empty));
    inspector.clear();
    assert_eq!(worker.try_recv(), Err(TryRecvError::Disconnected));
}

#[tokio::test]
async fn each_sample_reaches_the_application_with_a_valid_signature() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    // The handler in these tests waits, panics or fails for these types, so they are left out.
    let others = ["quota.warning", "user.created", "job.failed"];
    let kinds = EventKind::ALL.iter().map(|kind| kind.as_str());
    let kinds = kinds.filter(|it| !others.contains(it));
    for sample in kinds.chain(["unknown", "test", "nan"]) {
        for sender in ["portal", "dispatcher"] {
            let request = json!({"sample": sample, "sender": sender});
            let result = act(&app, "/api/samples", request).await;
            let record = records.recv().await.unwrap();
            assert_eq!(result["number"], record.number(), "{result}");
            assert!(record.is_verified(), "{sample} {sender}: {record:?}");
            match sample {
                "nan" => assert!(String::from_utf8_lossy(record.body()).contains("NaN")),
                "unknown" => assert_eq!(record.event_type(), Some("video.remixed")),
                "test" => assert_eq!(record.verdict(), Verdict::Accepted),
                kind => {
                    assert_eq!(record.event_type(), Some(kind));
                    assert_eq!(record.sender().unwrap().to_string(), sender);
                    assert_eq!(record.verdict(), Verdict::Accepted);
                }
            }
        }
    }
}

#[tokio::test]
async fn without_a_url_samples_go_to_the_route_of_the_last_request() {
    let app = App::with(|inspector, _| inspector.with_secret(SECRET)).await;
    let error = cannot_send(&app, "/api/samples").await;
    assert!(error.starts_with("Send one request to the application first"));
    app.send_signed("whsec_of_nobody", "{}").await;
    let record = sent(&app, "/api/samples").await;
    assert_eq!((record.verdict(), record.path()), (Verdict::Accepted, PATH));

    // Attack: choose the route to which the sample goes.
    let elsewhere = app.url.replace(PATH, "/elsewhere");
    let forged = client().post(elsewhere);
    let forged = forged.header("x-webhook-signature", "0".repeat(64)).send();
    assert_eq!(forged.await.unwrap().status(), 401);
    let record = sent(&app, "/api/samples").await;
    assert_eq!(record.path(), PATH);
}

#[tokio::test]
async fn a_url_without_a_listener_is_named() {
    let url = "http://127.0.0.1:1/hook";
    let app = App::with(|inspector, _| inspector.with_secret(SECRET).webhook_url(url)).await;
    let error = cannot_send(&app, "/api/samples").await;
    let start = format!("{url} cannot be reached");
    assert!(error.starts_with(&start), "{error}");
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed_and_nothing_explained() {
    let app = App::with(|inspector, url| inspector.webhook_url(url)).await;
    app.forge().await;
    for action in ["records/1/explain", "records/1/send-as-new", "samples"] {
        let error = cannot_send(&app, &format!("/api/{action}")).await;
        assert!(
            error.contains("Inspector::with_secret"),
            "{action}: {error}"
        );
    }
    let state = app.ask_json("GET", "/api/state").await.to_string();
    assert!(state.contains("$SOUNDHASH_WEBHOOK_SECRET"), "{state}");
}

/// The shell parses the command as intended, and the application accepts the request.
#[tokio::test]
async fn the_curl_line_of_the_empty_page_works() {
    for with_secret in [true, false] {
        let app = match with_secret {
            true => App::start().await,
            false => App::with(|inspector, url| inspector.webhook_url(url)).await,
        };
        let mut records = app.inspector.subscribe();
        let state = app.ask_json("GET", "/api/state").await;
        let output = tokio::process::Command::new("sh")
            .args(["-c", state["curl"].as_str().unwrap()])
            .env("SOUNDHASH_WEBHOOK_SECRET", SECRET)
            .output()
            .await
            .unwrap();
        assert!(output.stdout.starts_with(b"HTTP/1.1 200"), "{output:?}");
        assert_ne!(records.recv().await.unwrap().verdict(), Verdict::Rejected);
    }
}

#[tokio::test]
async fn a_saved_request_has_the_form_of_a_capture() {
    let app = App::start().await;
    let body = titled("saved", "A song");
    let signature = Secret::new(SECRET).sign(&body).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-webhook-signature", signature.parse().unwrap());
    headers.insert("authorization", "Bearer t0ps3cret".parse().unwrap());
    headers.insert("x-webhook-event", "video.processed".parse().unwrap());
    app.send(headers, body.clone()).await;
    let capture = app.ask("GET", "/api/records/1/capture");
    let response = capture.send().await.unwrap();
    let disposition = "attachment; filename=\"video.processed-1.http\"";
    assert_eq!(response.headers()["content-disposition"], disposition);
    let file = response.text().await.unwrap();
    let (head, rest) = file.split_once("\r\n\r\n").unwrap();
    assert_eq!(rest.as_bytes(), body);
    assert!(head.starts_with("POST /webhooks/soundhash HTTP/1.1\r\n"));
    assert!(head.contains(&format!("\r\nX-Webhook-Signature: {signature}\r\n")));
    assert!(head.contains("\r\nX-Webhook-Event: video.processed\r\n"));
    assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())));
    assert!(!head.contains("t0ps3cret"), "{head}");
    // A saved request becomes a test with this single line.
    let request = SignedRequest::from_capture(SECRET, file.as_bytes());
    let Ok(response) = router().oneshot(request.unwrap().build()).await;
    assert_eq!(response.status(), 200);
}

/// The page and the layer share their settings with all clones of the inspector.
#[tokio::test]
async fn a_setting_applies_to_existing_layers_and_pages() {
    let inspector = Inspector::new();
    let (layer, before) = (inspector.layer(), inspector.clone());
    let inspector = inspector.with_secret(SECRET).max_body_size(10);
    let app = Router::new()
        // Without a verifying layer, only the inspector can verify the request.
        .route(PATH, post(|_: String| async {}))
        .layer(layer);
    let mut records = inspector.subscribe();
    for (body, verdict) in [
        ("{}", Verdict::Accepted),
        ("a longer body", Verdict::Failed),
    ] {
        let request = SignedRequest::new(SECRET).body(body).build();
        app.clone().oneshot(request).await.unwrap();
        let record = records.recv().await.unwrap();
        assert_eq!(record.verdict(), verdict, "{record:?}");
    }
    let state = call(&before, "GET", "/api/state").await;
    assert_eq!(state["has_secret"], true);
}
