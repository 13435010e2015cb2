//! Deliveries that share an idempotency key, and deliveries that do not.

use axum::{
    BoxError, Router,
    body::Body,
    http::{HeaderValue, Request, request},
    routing::post,
};
use soundhash_webhook::{
    Secret, SecretProvider, Secrets, SoundHashWebhookLayer,
    idempotency::{IdempotencyLayer, MemoryStore},
};
use std::sync::Arc;
use tower::ServiceBuilder;

use super::support::{DUPLICATE, RUN, Runs, app, body, event, layer, send};
use crate::support::{signed, with_signature};

fn signed_with(secret: &str, body: String) -> Request<Body> {
    let signature = Secret::new(secret).sign(body.as_bytes()).to_string();
    with_signature(signature, Body::from(body))
}

/// Attack: send a recorded delivery with fresh headers, all of which are unsigned.
#[tokio::test]
async fn unsigned_headers_do_not_make_a_new_event() {
    let runs = Runs::default();
    let app = app(layer(), runs.handler());
    assert_eq!(send(&app, event("a")).await, RUN);
    let fresh = HeaderValue::from_static("fresh");
    for header in [
        "x-delivery-id",
        "x-webhook-id",
        "x-webhook-event",
        "idempotency-key",
        "date",
    ] {
        let mut replay = event("a");
        replay.headers_mut().insert(header, fresh.clone());
        assert_eq!(send(&app, replay).await, DUPLICATE, "{header}");
    }
    let mut elsewhere = event("a");
    *elsewhere.uri_mut() = "/webhooks/soundhash?again=1".parse().unwrap();
    assert_eq!(send(&app, elsewhere).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn two_portal_events_of_one_millisecond_both_run() {
    let runs = Runs::default();
    let app = app(layer(), runs.handler());
    let first = r#"{"event":"a","data":1,"delivery_id":"del_1795424400123"}"#;
    let second = r#"{"event":"a","data":2,"delivery_id":"del_1795424400123"}"#;
    for body in [first, second] {
        assert_eq!(send(&app, signed(body)).await, RUN, "{body}");
    }
    for body in [first, second] {
        assert_eq!(send(&app, signed(body)).await, DUPLICATE, "{body}");
    }
    assert_eq!(runs.count(), 2);
}

/// Attack: replay a delivery from before a rotation. A retry is signed with the secret that was
/// valid for the first attempt, and during a rotation, SoundHash sends the event to both endpoints.
#[tokio::test]
async fn a_rotation_does_not_make_a_new_event() {
    let store = Arc::new(MemoryStore::new(100));
    let runs = Runs::default();
    let app = |verify: SoundHashWebhookLayer| -> Router {
        Router::new()
            .route("/webhooks/soundhash", post(runs.handler()))
            .layer(
                ServiceBuilder::new()
                    .layer(verify)
                    .layer(IdempotencyLayer::new(store.clone())),
            )
    };
    let before = app(SoundHashWebhookLayer::new("whsec_old"));
    let after = app(SoundHashWebhookLayer::new("whsec_new").previous_secret("whsec_old"));
    let old = |body| signed_with("whsec_old", body);
    let new = |body| signed_with("whsec_new", body);
    assert_eq!(send(&before, old(body("a"))).await, RUN);
    assert_eq!(send(&after, old(body("a"))).await, DUPLICATE);
    assert_eq!(send(&after, new(body("a"))).await, DUPLICATE);
    assert_eq!(runs.count(), 1);
    // This also holds if only the body identifies the event.
    let portal = || r#"{"event":"a","data":1,"delivery_id":"x"}"#.to_owned();
    assert_eq!(send(&after, old(portal())).await, RUN);
    assert_eq!(send(&after, new(portal())).await, DUPLICATE);
}

struct Tenants;

impl SecretProvider for Tenants {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        let tenant = head.headers["x-tenant"].to_str()?;
        let secrets = Secrets::new(format!("whsec_{tenant}"));
        Ok(Some(secrets.endpoint(tenant)))
    }
}

/// Attack: a tenant claims another tenant's event ids, so that those events do not run.
#[tokio::test]
async fn tenants_have_separate_ids() {
    let runs = Runs::default();
    let app: Router = Router::new()
        .route("/webhooks/soundhash", post(runs.handler()))
        .layer(
            ServiceBuilder::new()
                .layer(SoundHashWebhookLayer::with_provider(Tenants))
                .layer(layer()),
        );
    let from = |tenant: &'static str| {
        let mut request = signed_with(&format!("whsec_{tenant}"), body("a"));
        let tenant = HeaderValue::from_static(tenant);
        request.headers_mut().insert("x-tenant", tenant);
        request
    };
    assert_eq!(send(&app, from("mallory")).await, RUN);
    assert_eq!(send(&app, from("acme")).await, RUN);
    assert_eq!(send(&app, from("acme")).await, DUPLICATE);
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn scopes_keep_consumers_apart() {
    let layer = layer();
    let runs = Runs::default();
    let plain = app(layer.clone(), runs.handler());
    let mails = app(layer.clone().scope("mails"), runs.handler());
    let stats = app(layer.scope("stats"), runs.handler());
    for app in [&plain, &mails, &stats] {
        assert_eq!(send(app, event("a")).await, RUN);
    }
    for app in [&plain, &mails, &stats] {
        assert_eq!(send(app, event("a")).await, DUPLICATE);
    }
}
