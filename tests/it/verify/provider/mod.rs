//! Looked-up secrets: tenants, rotation at runtime, and lookups that fail or are slow.

#[cfg(feature = "cache")]
mod cached;
mod rotating;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{Request, StatusCode, header, request};
use soundhash_webhook::{
    BoxError, Delivery, Rejection, RejectionKind, SIGNATURE_HEADER, Secret, SecretProvider,
    Secrets, SoundHashWebhookLayer,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    process::{exchange, status},
    support::{
        BODY, SECRET, Script, Step, echo, outcome, sign, signed_bytes, text, with_signature,
    },
};

/// A provider that selects secrets by the last path segment or by `X-Webhook-ID`.
#[derive(Clone, Default)]
struct Tenants {
    secrets: Arc<Mutex<HashMap<String, Secrets>>>,
    lookups: Arc<AtomicUsize>,
}

impl Tenants {
    fn set(&self, tenant: &str, secrets: Secrets) {
        let mut all = self.secrets.lock().unwrap();
        all.insert(tenant.to_owned(), secrets.endpoint(tenant));
    }
}

impl SecretProvider for Tenants {
    async fn secrets(&self, head: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let tenant = match head.headers.get("x-webhook-id") {
            Some(id) => id.to_str()?,
            None => head.uri.path().rsplit('/').next().unwrap_or_default(),
        };
        if tenant == "broken" {
            return Err("the database is away".into());
        }
        Ok(self.secrets.lock().unwrap().get(tenant).cloned())
    }
}

fn request(tenant: &str, secret: &str) -> Request<Body> {
    Request::post(format!("/webhooks/{tenant}"))
        .header(SIGNATURE_HEADER, Secret::new(secret).sign(BODY).to_string())
        .body(Body::from(BODY))
        .unwrap()
}

async fn check(tenants: &Tenants, request: Request<Body>) -> Result<Bytes, RejectionKind> {
    let layer = SoundHashWebhookLayer::with_provider(tenants.clone());
    outcome(echo(layer), request).await
}

#[tokio::test]
async fn each_tenant_has_its_own_secret() {
    let tenants = Tenants::default();
    tenants.set("acme", Secrets::new("whsec_acme"));
    tenants.set("globex", Secrets::new("whsec_globex"));
    // Attack: a tenant signs on behalf of another tenant.
    let forged = Err(RejectionKind::WrongSignature);
    for (tenant, secret, expected) in [
        ("acme", "whsec_acme", Ok(Bytes::from_static(BODY))),
        ("globex", "whsec_globex", Ok(Bytes::from_static(BODY))),
        ("globex", "whsec_acme", forged),
    ] {
        let received = check(&tenants, request(tenant, secret)).await;
        assert_eq!(received, expected, "{tenant} {secret}");
    }
}

#[tokio::test]
async fn an_unsigned_header_may_choose_the_secret_and_the_delivery_names_whose_it_was() {
    let tenants = Tenants::default();
    tenants.set("wh_1", Secrets::new("whsec_1"));
    let mut request = request("any", "whsec_1");
    let id = "wh_1".parse().unwrap();
    request.headers_mut().insert("x-webhook-id", id);
    let service = echo(SoundHashWebhookLayer::with_provider(tenants));
    let Ok(response) = service.oneshot(request).await;
    let delivery = response.extensions().get::<Delivery>().unwrap();
    assert_eq!(delivery.endpoint(), Some("wh_1"));
}

/// Attack: find out which endpoints exist.
#[tokio::test]
async fn an_unknown_endpoint_is_rejected_like_a_wrong_signature() {
    let tenants = Tenants::default();
    tenants.set("acme", Secrets::new("whsec_acme"));
    let service = echo(SoundHashWebhookLayer::with_provider(tenants));
    let mut responses = Vec::new();
    for (tenant, kind) in [
        ("nobody", RejectionKind::UnknownEndpoint),
        ("decoy", RejectionKind::UnknownEndpoint),
        ("acme", RejectionKind::WrongSignature),
    ] {
        // Attack: sign with the secret that the layer uses internally for unknown endpoints.
        let request = request(tenant, "decoy");
        let Ok(response) = service.clone().oneshot(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), kind);
        responses.push((response.headers().clone(), text(response).await));
    }
    assert_eq!(responses[0], responses[2]);
    assert_eq!(responses[1], responses[2]);
}

/// Attack: make the receiver query its database for every bad request.
#[tokio::test]
async fn no_lookup_runs_for_a_request_that_is_rejected_anyway() {
    let tenants = Tenants::default();
    let malformed = with_signature("abc", Body::from(BODY));
    let unsigned = Request::new(Body::from(BODY));
    let mut large = request("acme", "whsec_acme");
    let headers = large.headers_mut();
    headers.insert(header::CONTENT_LENGTH, u64::MAX.into());
    for request in [malformed, unsigned, large] {
        assert!(check(&tenants, request).await.is_err());
    }
    assert_eq!(tenants.lookups.load(Ordering::Relaxed), 0);
}

/// Attack: find out which endpoints exist by observing whether their rejections wait for the body.
#[tokio::test(start_paused = true)]
async fn the_body_of_an_unknown_endpoint_is_received_like_any_other() {
    let service = echo(SoundHashWebhookLayer::with_provider(Tenants::default()));
    let rejected = |steps: Vec<Step>| {
        let request = with_signature("0".repeat(64), Script::new(steps));
        outcome(service.clone(), request)
    };
    let kind = rejected(vec![Step::Yield, Step::Data(BODY.into())]).await;
    assert_eq!(kind, Err(RejectionKind::UnknownEndpoint));
    let kind = rejected(vec![Step::Stall]).await;
    assert_eq!(kind, Err(RejectionKind::BodyTimeout));
    let kind = rejected(vec![Step::Endless(BODY.into())]).await;
    assert_eq!(kind, Err(RejectionKind::BodyTooLarge));
}

/// During a rotation, the new secret may be listed twice if the old one is no longer in use.
#[tokio::test]
async fn each_of_four_secrets_is_distinguished() {
    let layer = |[first, previous @ ..]: [&str; 4]| {
        let layer = SoundHashWebhookLayer::new(first);
        let previous = previous.iter();
        previous.fold(layer, |layer, it| layer.previous_secret(*it))
    };
    let different = layer(["s0", "s1", "s2", "s3"]);
    let repeated = layer(["new", "new", "old", "old"]);
    for (layer, secret, index) in [
        (&different, "s0", Some(0)),
        (&different, "s1", Some(1)),
        (&different, "s2", Some(2)),
        (&different, "s3", Some(3)),
        (&different, "s4", None),
        (&repeated, "new", Some(0)),
        (&repeated, "old", Some(2)),
    ] {
        let Ok(response) = echo(layer.clone()).oneshot(request("any", secret)).await;
        let delivery = response.extensions().get::<Delivery>();
        assert_eq!(delivery.map(Delivery::matched_secret), index, "{secret}");
    }
}

/// A provider that counts its lookups, and completes them after a delay.
#[derive(Clone)]
struct Slow {
    lookups: Arc<AtomicUsize>,
    time: Duration,
}

impl SecretProvider for Slow {
    async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        sleep(self.time).await;
        Ok(Some(Secrets::new("whsec_slow")))
    }

    /// Returns the secrets of the default endpoint.
    fn cached(&self, head: &request::Parts) -> Option<Secrets> {
        (head.uri.path() == "/webhooks/soundhash").then(|| Secrets::new(SECRET))
    }
}

fn slow(time: Duration) -> (SoundHashWebhookLayer<Slow>, Arc<AtomicUsize>) {
    let lookups = Arc::<AtomicUsize>::default();
    let provider = Slow {
        lookups: lookups.clone(),
        time,
    };
    (SoundHashWebhookLayer::with_provider(provider), lookups)
}

/// Attack: send heads without bodies, so that each starts a lookup.
#[tokio::test]
async fn a_head_alone_starts_no_lookup() {
    let (layer, lookups) = slow(Duration::from_secs(60));
    let addr = serve(layer).await;
    let head = crate::support::head(&"0".repeat(64), 1_000);
    let head = head.replace("/webhooks/soundhash", "/webhooks/slow");
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.set_zero_linger().unwrap();
    }
    // This request is served after the heads, so the layer has seen them.
    let response = exchange(&addr, &signed_bytes(BODY)).await;
    assert_eq!(status(&response), "200");
    assert_eq!(lookups.load(Ordering::Relaxed), 0);
    let whole = [head.as_bytes(), &[b'x'; 1_000]].concat();
    let mut stream = TcpStream::connect(&addr).await.unwrap();
    stream.write_all(&whole).await.unwrap();
    while lookups.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn serve(layer: SoundHashWebhookLayer<Slow>) -> String {
    let app: Router = Router::new()
        .route("/webhooks/{endpoint}", post(|| async {}))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, app).await });
    addr
}

/// Attack: fill an HTTP/2 connection's window, which all of its streams share, with bodies that
/// wait for a lookup.
#[tokio::test]
async fn slow_lookups_do_not_delay_a_cached_delivery_on_the_same_connection() {
    let (layer, lookups) = slow(Duration::from_secs(600));
    let layer = layer.lookup_timeout(Duration::from_secs(600));
    let stream = TcpStream::connect(serve(layer).await).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let begin = async |path: &str, signature: &str, body: Vec<u8>| {
        let request = Request::post(format!("http://localhost/webhooks/{path}"))
            .header(SIGNATURE_HEADER, signature)
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (response, mut sender) = client.send_request(request, false).unwrap();
        sender.send_data(body.into(), true).unwrap();
        (response, sender)
    };
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(begin("slow", &"0".repeat(64), vec![b'x'; 1_000_000]).await);
    }
    let (response, _sender) = begin("soundhash", &sign(BODY), BODY.to_vec()).await;
    // The delivery gets its response even though the others wait for ten minutes.
    let response = timeout(Duration::from_secs(30), response).await;
    let response = response.expect("a response").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    while lookups.load(Ordering::Relaxed) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_takes_too_long_is_our_failure() {
    for (timeout, expected) in [(None, 5_000), (Some(100), 100)] {
        let (mut layer, _) = slow(Duration::from_secs(60));
        if let Some(timeout) = timeout {
            layer = layer.lookup_timeout(Duration::from_millis(timeout));
        }
        let start = Instant::now();
        let Ok(response) = echo(layer).oneshot(request("slow", "whsec_slow")).await;
        assert_eq!(start.elapsed().as_millis(), expected);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), RejectionKind::SecretsUnavailable);
    }
}

/// A poisoned lock, for example, makes each lookup panic.
#[tokio::test]
async fn a_lookup_that_panics_is_our_failure() {
    struct Panics;

    impl SecretProvider for Panics {
        async fn secrets(&self, _: &request::Parts) -> Result<Option<Secrets>, BoxError> {
            panic!("poisoned")
        }

        fn cached(&self, _: &request::Parts) -> Option<Secrets> {
            panic!("poisoned")
        }
    }

    let service = echo(SoundHashWebhookLayer::with_provider(Panics));
    for _ in 0..2 {
        let Ok(response) = service.clone().oneshot(request("any", SECRET)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), RejectionKind::SecretsUnavailable);
        let source = std::error::Error::source(rejection).unwrap();
        assert_eq!(source.to_string(), "the lookup panicked");
    }
}

/// Attack: exhaust memory with complete bodies that wait for slow lookups.
#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_a_lookup_counts() {
    let (layer, _) = slow(Duration::from_secs(1));
    let service = echo(layer.max_buffered(20 * 1024));
    let first = tokio::spawn(outcome(service.clone(), request("slow", "whsec_slow")));
    sleep(Duration::from_millis(10)).await;
    let second = outcome(service, request("slow", "whsec_slow")).await;
    assert_eq!(second, Ok(Bytes::from_static(BODY)));
    assert_eq!(first.await.unwrap(), Err(RejectionKind::BufferFull));
}
