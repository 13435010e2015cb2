//! `cargo bench -p soundhash-webhook-benches --bench verification`
//!
//! Measures the in-process cost of a delivery: verification beyond the hash, parsing an event
//! compared to plain JSON, idempotency, and the inspector. Figures are only meaningful relative to
//! others from the same run. The tables at the end show these ratios.

mod least;

use std::{
    convert::Infallible,
    env, fs,
    future::Future,
    hint::black_box,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use soundhash_webhook::{
    Event, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer,
    idempotency::{Claim, IdempotencyLayer, IdempotencyStore, Key, MemoryStore},
};
use soundhash_webhook_inspector::Inspector;
use soundhash_webhook_tests::{captures, frames::frames};
use tower::{Layer, Service, layer::util::Identity, service_fn};

use crate::least::least;

const SECRET: &str = "whsec_test";
const FRAME: usize = 16 * 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for body in bodies() {
        floor(&mut criterion, &body);
        service(&mut criterion, &body);
        router(&mut criterion, &body);
    }
    rejections(&mut criterion);
    whole_receivers(&mut criterion);
    events(&mut criterion);
    store(&mut criterion);
    criterion.final_summary();
    table();
}

/// Returns a captured event, and bodies of other sizes.
fn bodies() -> Vec<Bytes> {
    let larger = [1, 4, 64, 1024].map(|kib| Bytes::from(vec![b'x'; kib * 1024]));
    [event()].into_iter().chain(larger).collect()
}

fn event() -> Bytes {
    captures::bodies()["dispatcher-match.found"].clone()
}

/// Deliveries of equal length, each with a different signature. If a signature were repeated, the
/// processor would learn to predict its digits.
struct Deliveries {
    signed: Vec<(Bytes, String)>,
    next: usize,
}

impl Deliveries {
    fn like(body: &Bytes) -> Self {
        let count = (1024 * 1024 / body.len()).clamp(1, 512);
        let sign = |number: usize| {
            let mut body = body.to_vec();
            // These bytes of the captured event are its id.
            body[8..16].copy_from_slice(format!("{number:08}").as_bytes());
            let signature = Secret::new(SECRET).sign(&body).to_string();
            (Bytes::from(body), signature)
        };
        let signed = (0..count).map(sign).collect();
        Self { signed, next: 0 }
    }

    fn next(&mut self) -> &(Bytes, String) {
        self.next = (self.next + 1) % self.signed.len();
        &self.signed[self.next]
    }

    /// Returns a request with the next delivery. `cut` turns the delivery's bytes into the request
    /// body.
    fn request(&mut self, cut: impl Fn(&Bytes) -> Body) -> Request {
        let (body, signature) = self.next();
        request(Some(signature), cut(body))
    }

    fn whole(&mut self) -> Request {
        self.request(|body| Body::from(body.clone()))
    }
}

/// Measures only the hash, with a key prepared in advance.
fn floor(criterion: &mut Criterion, body: &Bytes) {
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    let mut deliveries = Deliveries::like(body);
    let mut group = criterion.benchmark_group("floor");
    group.bench_function(body.len().to_string(), |bencher| {
        bencher.iter(|| {
            let mut mac = keyed.clone();
            mac.update(black_box(&deliveries.next().0));
            mac.finalize()
        });
    });
}

/// Measures the layer around a service that reads the body. For comparison, also measures the
/// service without a layer, and with the smallest possible layer.
fn service(criterion: &mut Criterion, body: &Bytes) {
    let inner = || {
        service_fn(async |request: Request| {
            let body = to_bytes(request.into_body(), usize::MAX).await;
            black_box(body.expect("a body"));
            Ok::<_, Infallible>(Response::new(Body::empty()))
        })
    };
    let (name, mut deliveries) = (&body.len().to_string(), Deliveries::like(body));
    let mut make = || deliveries.whole();
    measure(criterion, "service/no-op", name, inner(), &mut make);
    let least = least(SECRET, inner());
    measure(criterion, "service/least", name, least, &mut make);
    measure(
        criterion,
        "service/layer",
        name,
        layer().layer(inner()),
        make,
    );
    if body.len() > FRAME {
        let mut make = || deliveries.request(|body| frames(body, FRAME));
        measure(criterion, "frames/no-op", name, inner(), &mut make);
        measure(
            criterion,
            "frames/layer",
            name,
            layer().layer(inner()),
            make,
        );
    }
}

/// Measures a router with and without the layer, around a handler that takes the body.
fn router(criterion: &mut Criterion, body: &Bytes) {
    let handler = async |body: Bytes| {
        black_box(body);
    };
    let router = Router::new().route("/webhooks/soundhash", post(handler));
    let (name, mut deliveries) = (&body.len().to_string(), Deliveries::like(body));
    let mut make = || deliveries.whole();
    let plain = router.clone().layer(Identity::new());
    measure(criterion, "router/no-op", name, plain, &mut make);
    measure(criterion, "router/layer", name, router.layer(layer()), make);
}

fn rejections(criterion: &mut Criterion) {
    let body = event();
    let inner = service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty())));
    let service = layer().layer(inner);
    let mut deliveries = Deliveries::like(&body);
    let mut make = || request(None, Body::from(deliveries.next().0.clone()));
    measure(
        criterion,
        "rejection",
        "missing",
        service.clone(),
        &mut make,
    );
    let make = || request(Some("sha256="), Body::from(deliveries.next().0.clone()));
    measure(criterion, "rejection", "malformed", service.clone(), make);
    let mut others = Deliveries::like(&body);
    let make = || request(Some(&others.next().1), Body::from(body.clone()));
    measure(criterion, "rejection", "wrong", service, make);
}

/// Measures everything from the request to the value that the handler uses.
fn whole_receivers(criterion: &mut Criterion) {
    let mut deliveries = Deliveries::like(&event());
    let mut make = || deliveries.whole();

    let by_hand = Router::new()
        .route(
            "/webhooks/soundhash",
            post(async |Json(value): Json<Value>| drop(black_box(value))),
        )
        .layer(from_fn(verify_by_hand));
    measure(criterion, "receiver", "by-hand", by_hand, &mut make);

    let handler = post(async |event: Event| drop(black_box(event)));
    let typed = Router::new().route("/webhooks/soundhash", handler);
    let verified = typed.clone().layer(layer());
    measure(criterion, "receiver", "layer", verified.clone(), &mut make);
    let inspected = verified.layer(Inspector::new().layer());
    measure(criterion, "receiver", "inspected", inspected, make);

    let idempotent = typed
        .layer(IdempotencyLayer::new(MemoryStore::new(10_000)))
        .layer(layer());
    let (mut number, event) = (0_u64, event());
    let each_once = || {
        number += 1;
        let mut body = event.to_vec();
        body[8..18].copy_from_slice(format!("{number:010}").as_bytes());
        let signature = Secret::new(SECRET).sign(&body).to_string();
        request(Some(&signature), Body::from(body))
    };
    measure(criterion, "receiver", "idempotent", idempotent, each_once);
}

/// Returns the recorded bodies, plus two of the largest that SoundHash can send.
fn event_bodies() -> Vec<(String, Bytes)> {
    let mut bodies: Vec<_> = captures::bodies().into_iter().collect();
    let title = "x".repeat(1_000_000);
    let matches = vec![
        json!({
            "video_id": 123, "title": "Matched Video", "confidence": 0.95,
            "start_time": 45, "end_time": 60, "similarity_score": 0.94,
        });
        5000
    ];
    let mut push = |name: &str, event_type: &str, data: Value| {
        // SoundHash's senders write the event type before the payload.
        let body = format!(r#"{{"event": "{event_type}", "data": {data}}}"#);
        bodies.push((name.to_owned(), body.into()));
    };
    push("title of 1 MB", "video.processed", json!({"title": title}));
    push(
        "5000 matches",
        "match.found",
        json!({"query_id": "q", "matches": matches}),
    );
    bodies
}

/// Measures parsing into the crate's events and into plain JSON.
fn events(criterion: &mut Criterion) {
    for (name, body) in event_bodies() {
        let mut group = criterion.benchmark_group("event");
        group.bench_function(&name, |bencher| {
            bencher.iter(|| Event::from_slice(&body));
        });
        group.finish();
        let mut group = criterion.benchmark_group("value");
        group.bench_function(&name, |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(&body));
        });
    }
}

/// Measures claiming and completing an event in the memory store.
fn store(criterion: &mut Criterion) {
    let (store, mut number) = (MemoryStore::new(100_000), 0_u64);
    let mut key = || {
        number += 1;
        Key::new(&format!("tevt_{number:018}"))
    };
    let mut group = criterion.benchmark_group("store");
    group.bench_function("memory", |bencher| {
        bencher.iter_batched(
            &mut key,
            |key| {
                let claim = ready(store.claim(&key, Duration::from_mins(1)));
                let Ok(Claim::Acquired(token)) = claim else {
                    panic!("{key} was claimed before");
                };
                ready(store.complete(&key, token, Duration::from_hours(24)))
            },
            BatchSize::NumIterations(64),
        );
    });
}

/// Returns a benchmark's median time in this run, in nanoseconds, or `None` if it was not run.
fn nanoseconds(group: &str, name: &str) -> Option<f64> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let path = target.join(format!("criterion/{group}/{name}/new/estimates.json"));
    let estimates: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// Verifies a signature in the usual way, without this crate.
async fn verify_by_hand(request: Request, next: Next) -> Result<Response, StatusCode> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1024 * 1024)
        .await
        .map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let signature = head.headers.get(SIGNATURE_HEADER);
    let signature = signature.ok_or(StatusCode::UNAUTHORIZED)?;
    let signature = hex::decode(signature.as_bytes()).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(&body);
    mac.verify_slice(&signature)
        .map_err(|_| StatusCode::UNAUTHORIZED)?;
    Ok(next.run(Request::from_parts(head, Body::from(body))).await)
}

fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET)
}

fn request(signature: Option<&str>, body: Body) -> Request {
    let mut request = Request::post("/webhooks/soundhash").header(CONTENT_TYPE, "application/json");
    if let Some(signature) = signature {
        request = request.header(SIGNATURE_HEADER, signature);
    }
    request.body(body).expect("a request")
}

/// Measures a service, excluding the creation of requests and the dropping of responses.
fn measure<S>(
    criterion: &mut Criterion,
    group: &str,
    name: &str,
    mut service: S,
    mut make: impl FnMut() -> Request,
) where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut group = criterion.benchmark_group(group);
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            &mut make,
            |request| ready(service.call(request)),
            // A batch of this size fits in the processor's cache.
            BatchSize::NumIterations(64),
        );
    });
}

/// Returns the output of a future that never has to wait, without the overhead of a runtime.
fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here has to wait"),
    }
}

fn table() {
    println!("\n| verification | bytes | floor ns | added ns | added / floor |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for body in bodies() {
        let name = body.len().to_string();
        for (what, group, layer) in [
            ("service, one frame", "service", "layer"),
            ("the least, one frame", "service", "least"),
            ("service, frames of 16 KiB", "frames", "layer"),
            ("router, one frame", "router", "layer"),
        ] {
            let floor = nanoseconds("floor", &name);
            let with = nanoseconds(&format!("{group}_{layer}"), &name);
            let without = nanoseconds(&format!("{group}_no-op"), &name);
            if let (Some(floor), Some(with), Some(without)) = (floor, with, without) {
                let added = with - without;
                let ratio = added / floor;
                println!("| {what} | {name} | {floor:.0} | {added:.0} | {ratio:.2} |");
            }
        }
    }
    println!("\n| of 303 bytes | ns | / accepted |");
    println!("| --- | ---: | ---: |");
    let accepted = nanoseconds("service_layer", "303");
    for (group, name) in [
        ("service_layer", "303"),
        ("rejection", "missing"),
        ("rejection", "malformed"),
        ("rejection", "wrong"),
        ("receiver", "by-hand"),
        ("receiver", "layer"),
        ("receiver", "inspected"),
        ("receiver", "idempotent"),
        ("store", "memory"),
    ] {
        if let (Some(time), Some(accepted)) = (nanoseconds(group, name), accepted) {
            let ratio = time / accepted;
            println!("| {group} {name} | {time:.0} | {ratio:.2} |");
        }
    }
    println!("\n| capture | bytes | `Event` ns | `Value` ns | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, body) in event_bodies() {
        if let (Some(event), Some(value)) =
            (nanoseconds("event", &name), nanoseconds("value", &name))
        {
            let (bytes, ratio) = (body.len(), event / value);
            println!("| {name} | {bytes} | {event:.0} | {value:.0} | {ratio:.2} |");
        }
    }
}
