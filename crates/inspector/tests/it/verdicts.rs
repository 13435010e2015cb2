//! Tests the verdict on each kind of request.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::Request,
    routing::{get, post},
};
use http_body_util::BodyExt;
use soundhash_webhook::{
    Event, EventKind, Secret, Sender, SoundHashWebhookLayer, testing::SignedRequest,
};
use soundhash_webhook_inspector::{Inspector, Record, Verdict};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::ServiceExt;

use crate::support::{App, PATH, SECRET, body, call, client, router};

/// Sends a request to an application, and returns its record.
async fn judged(inspector: &Inspector, app: Router, request: Request<Body>) -> Arc<Record> {
    let mut records = inspector.subscribe();
    let response = app.layer(inspector.layer()).oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    records.recv().await.unwrap()
}

fn sample(kind: EventKind) -> Request<Body> {
    let request = SignedRequest::new(SECRET);
    request.sample(kind, Sender::Portal).build()
}

/// Expects a verdict and a reason. Also checks that the body is recorded only if the request was
/// verified.
async fn expect(app: Router, request: Request<Body>, verdict: Verdict, reason: &str) {
    let path = request.uri().path().to_owned();
    let record = judged(&Inspector::new(), app, request).await;
    assert_eq!(record.verdict(), verdict, "{record:?}");
    let given = record.reason().unwrap_or_default();
    assert!(given.starts_with(reason), "{record:?}");
    assert_eq!(given.is_empty(), reason.is_empty(), "{record:?}");
    let is_verified = !reason.starts_with("No ");
    assert_eq!(record.is_verified(), is_verified, "{record:?}");
    assert_eq!(record.path(), path);
    assert_eq!(record.body().is_empty(), !is_verified, "{record:?}");
}

#[tokio::test]
async fn each_verdict_has_its_reason() {
    let found = || sample(EventKind::MatchFound);
    expect(router(), found(), Verdict::Accepted, "").await;
    let reason = "The handler responded with 500.";
    expect(
        router(),
        sample(EventKind::JobFailed),
        Verdict::Failed,
        reason,
    )
    .await;
    let not_an_event = SignedRequest::new(SECRET).body("not an event").build();
    let reason = "The handler responded with 400.";
    expect(router(), not_an_event, Verdict::Failed, reason).await;

    // The layer rejects the request before it reads the body.
    let unsigned = Request::post(PATH).body(Body::from("{}")).unwrap();
    expect(
        router(),
        unsigned,
        Verdict::Rejected,
        "No signature header.",
    )
    .await;
    let typo = SignedRequest::new(SECRET).uri("/webhooks/typo").build();
    let reason = "No route of the application takes this request.";
    expect(Router::new(), typo, Verdict::Rejected, reason).await;
    // Forgetting the layer on a route is the most dangerous mistake.
    let open = Router::new().route(PATH, post(|| async {}));
    let reason = "No `SoundHashWebhookLayer` verified this request: it is missing";
    expect(open, found(), Verdict::Failed, reason).await;

    // An inspector that has no secret relies on the layer's verification.
    let rotated = SoundHashWebhookLayer::new(Secret::new("whsec_new")).previous_secret("whsec_old");
    let rotated = Router::new()
        .route(PATH, post(|_: Event| async {}))
        .layer(rotated);
    let old = SignedRequest::new("whsec_old").build();
    expect(rotated, old, Verdict::Accepted, "").await;
}

#[tokio::test]
async fn a_handler_that_panics_fails() {
    let inspector = Inspector::new();
    let mut records = inspector.subscribe();
    let service = router().layer(inspector.layer());
    let panicked = tokio::spawn(service.oneshot(sample(EventKind::UserCreated)));
    panicked.await.unwrap_err();
    let record = records.recv().await.unwrap();
    assert_eq!((record.verdict(), record.status()), (Verdict::Failed, None));
    assert_eq!(record.reason(), Some("The handler panicked."));
}

#[tokio::test]
async fn a_handler_is_canceled_by_a_sender_that_hangs_up() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    let mut stream = hang_up_in_the_middle(&app, usize::MAX).await;
    // The handler needs a moment to start before the sender hangs up.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    let record = records.recv().await.unwrap();
    assert_eq!(record.verdict(), Verdict::Canceled);
    let reason = "The sender hung up, or a timeout of the application expired, before the handler responded.";
    assert_eq!(record.reason(), Some(reason));
    assert!(record.is_verified());
}

/// Sends a request's head and at most `sent` bytes of its body.
async fn hang_up_in_the_middle(app: &App, sent: usize) -> TcpStream {
    let body = body(EventKind::QuotaWarning);
    let (mut stream, authority) = app.connect().await;
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
async fn a_body_that_breaks_off_is_not_verified() {
    let app = App::start().await;
    let mut records = app.inspector.subscribe();
    drop(hang_up_in_the_middle(&app, 10).await);
    let record = records.recv().await.unwrap();
    let verdicts = [Verdict::Canceled, Verdict::Rejected];
    assert!(verdicts.contains(&record.verdict()), "{record:?}");
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

/// A redirect turns SoundHash's POST into a GET, which has the signature but not the body.
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
    for part in [
        "not a POST",
        "If SoundHash sent it",
        "redirect",
        "https",
        "trailing slash",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let why = app.ask_json("POST", "/api/records/1/explain").await;
    let why = why["explanation"].as_str().unwrap();
    assert!(why.contains("check for redirects"), "{why}");
}

/// The layer got these bytes, so its secret is probably another one.
#[tokio::test]
async fn a_rejected_request_whose_signature_is_right_is_explained_by_another_secret() {
    let inspector = Inspector::new().with_secret("whsec_old");
    let app = Router::new()
        .route(PATH, post(async |_: Event| {}))
        .layer(SoundHashWebhookLayer::new(Secret::new(SECRET)));
    let request = SignedRequest::new("whsec_old").build();
    let record = judged(&inspector, app, request).await;
    assert_eq!(record.verdict(), Verdict::Rejected);
    let why = call(&inspector, "POST", "/api/records/1/explain").await;
    let why = why["explanation"].as_str().unwrap();
    for part in ["layer has another secret", "changes the body"] {
        assert!(why.contains(part), "{why}");
    }
}
