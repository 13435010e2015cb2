//! Requests and their verdicts.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::Request,
    routing::{get, post},
};
use http::StatusCode;
use soundhash_webhook::{
    Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing::SignedRequest,
};
use soundhash_webhook_inspector::{Inspector, Record, Verdict};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::ServiceExt;

use crate::support::{App, PATH, SECRET, body, client, router};

async fn record_of(app: &App, send: impl AsyncFnOnce(&App)) -> Arc<Record> {
    let mut records = app.inspector.subscribe();
    send(app).await;
    records.recv().await.unwrap()
}

#[tokio::test]
async fn an_event_that_was_handled_before_is_a_duplicate() {
    let app = App::start().await;
    let body = body(EventKind::VideoProcessed);
    app.send_signed(SECRET, body.clone()).await;
    let record = record_of(&app, async |app| {
        assert_eq!(app.send_signed(SECRET, body).await, StatusCode::OK);
    })
    .await;
    assert_eq!(record.verdict(), Verdict::Duplicate);
    assert!(record.is_verified());
}

#[tokio::test]
async fn a_handler_that_responds_with_500_fails() {
    let app = App::start().await;
    let record = record_of(&app, async |app| {
        let _ = app.send_signed(SECRET, body(EventKind::JobFailed)).await;
    })
    .await;
    assert_eq!(record.verdict(), Verdict::Failed);
    assert_eq!(record.reason(), Some("The handler responded with 500."));
    let detail = app.ask_json("GET", "/api/records/1").await;
    assert_eq!(detail["response"]["body"], "the database is down");
}

#[tokio::test]
async fn a_handler_that_panics_fails() {
    let app = App::start().await;
    let request = SignedRequest::new(SECRET)
        .sample(EventKind::UserCreated, Sender::Portal)
        .build();
    let service = router().layer(app.inspector.layer());
    let mut records = app.inspector.subscribe();
    tokio::spawn(service.oneshot(request)).await.unwrap_err();
    let record = records.recv().await.unwrap();
    assert_eq!((record.verdict(), record.status()), (Verdict::Failed, None));
    assert_eq!(record.reason(), Some("The handler panicked."));
}

#[tokio::test]
async fn a_handler_is_canceled_by_a_sender_that_hangs_up() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    let mut stream = hang_up_in_the_middle(&app, usize::MAX).await;
    // The handler needs a moment to start, and the sender does not wait.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    let record = records.recv().await.unwrap();
    assert_eq!(record.verdict(), Verdict::Canceled);
    assert_eq!(
        record.reason(),
        Some(
            "The sender hung up, or a timeout of the application expired, before the handler responded."
        )
    );
    assert!(record.is_verified());
}

/// Sends the head and a part of the body.
async fn hang_up_in_the_middle(app: &App, sent: usize) -> TcpStream {
    let body = body(EventKind::QuotaWarning);
    let authority = app
        .url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap()
        .0;
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let signature = Secret::new(SECRET).sign(&body);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {authority}\r\nX-Webhook-Signature: {signature}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body[..sent.min(body.len())]].concat();
    stream.write_all(&request).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_breaks_off_was_not_verified() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    drop(hang_up_in_the_middle(&app, 10).await);
    let record = records.recv().await.unwrap();
    assert!(
        matches!(record.verdict(), Verdict::Canceled | Verdict::Rejected),
        "{record:?}"
    );
    assert!(!record.is_verified());
}

#[tokio::test]
async fn requests_that_are_not_webhooks_are_not_recorded() {
    let inspector = Inspector::new();
    let app = Router::new()
        .route(PATH, post(|_: Event| async {}))
        .route_layer(SoundHashWebhookLayer::new(Secret::new(SECRET)))
        .route("/healthz", get(|| async { "ok" }))
        .layer(inspector.layer());
    let mut records = inspector.subscribe();
    for path in ["/healthz", "/login"] {
        let request = Request::post(path).body(Body::from("password")).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    app.oneshot(Request::post(PATH).body(Body::empty()).unwrap())
        .await
        .unwrap();
    let first = records.recv().await.unwrap();
    assert_eq!((first.number(), first.path()), (1, PATH));
}

#[tokio::test]
async fn a_request_without_a_signature_is_recorded_without_its_body() {
    let app = App::start().await;
    let record = record_of(&app, async |app| {
        let status = app.send(http::HeaderMap::new(), "{}").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    })
    .await;
    assert_eq!(record.verdict(), Verdict::Rejected);
    assert_eq!(record.reason(), Some("No signature header."));
    assert!(record.body().is_empty());
}

#[tokio::test]
async fn a_signed_request_to_the_wrong_path_finds_no_route() {
    let inspector = Inspector::new();
    let app = Router::new()
        .route("/", get(|| async {}))
        .layer(inspector.layer());
    let mut records = inspector.subscribe();
    app.oneshot(SignedRequest::new(SECRET).uri("/webhooks/typo").build())
        .await
        .unwrap();
    let record = records.recv().await.unwrap();
    assert_eq!(
        (record.verdict(), record.path()),
        (Verdict::Rejected, "/webhooks/typo")
    );
    assert_eq!(
        record.reason(),
        Some("No route of the application takes this request.")
    );
}

/// The most dangerous mistake: a route without the layer.
#[tokio::test]
async fn a_handler_without_the_verification_layer_is_not_called_accepted() {
    let inspector = Inspector::new();
    let app = Router::new()
        .route(PATH, post(|| async {}))
        .layer(inspector.layer());
    let mut records = inspector.subscribe();
    app.oneshot(SignedRequest::new(SECRET).build())
        .await
        .unwrap();
    let record = records.recv().await.unwrap();
    assert_eq!(record.verdict(), Verdict::Failed);
    assert!(record.reason().unwrap().contains("SoundHashWebhookLayer"));
    assert!(!record.is_verified());
}

/// An inspector without a secret trusts the verification layer.
#[tokio::test]
async fn the_layers_delivery_proves_that_a_request_was_verified() {
    let inspector = Inspector::new();
    let app = Router::new()
        .route(PATH, post(|_: Event| async {}))
        .layer(SoundHashWebhookLayer::new(Secret::new("whsec_new")).previous_secret("whsec_old"))
        .layer(inspector.layer());
    let mut records = inspector.subscribe();
    app.oneshot(SignedRequest::new("whsec_old").build())
        .await
        .unwrap();
    let record = records.recv().await.unwrap();
    assert_eq!(
        (record.verdict(), record.matched_secret()),
        (Verdict::Accepted, Some(1))
    );
}

#[tokio::test]
async fn an_empty_response_of_a_handler_is_recorded_at_once() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    let request = SignedRequest::new(SECRET).body("not an event").build();
    let response = router()
        .layer(app.inspector.layer())
        .oneshot(request)
        .await
        .unwrap();
    assert!(response.status().is_client_error());
    drop(response);
    let record = records.recv().await.unwrap();
    assert_eq!(
        (record.verdict(), record.event_type()),
        (Verdict::Failed, None)
    );
}

/// A redirect turns SoundHash's POST into a GET without a body that keeps the signature.
#[tokio::test]
async fn a_redirected_delivery_is_recorded_with_the_usual_causes() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    let signature = Secret::new(SECRET).sign(&body(EventKind::MatchFound));
    let request = client().get(&app.url);
    let request = request.header("x-webhook-signature", signature.to_string());
    request.send().await.unwrap().bytes().await.unwrap();
    let record = records.recv().await.unwrap();
    assert_eq!(record.verdict(), Verdict::Rejected, "{record:?}");
    let reason = record.reason().unwrap();
    for part in ["without a body", "redirect", "https", "trailing slash"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let why = app.ask_json("POST", "/api/records/1/explain").await;
    let why = why["explanation"].as_str().unwrap();
    assert!(why.contains("check for redirects"), "{why}");
}
