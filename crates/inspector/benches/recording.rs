//! `cargo bench -p soundhash-webhook-inspector`
//!
//! Measures the cost of recording a delivery: the time of an application with the inspector's
//! layer, minus the time of an application without it.
#![allow(missing_docs, reason = "criterion's macro makes functions")]

use std::{fmt::Debug, hint::black_box};

use axum::{
    body::{Body, HttpBody},
    http::{Request, Response},
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http_body_util::BodyExt;
use soundhash_webhook::{Secret, SoundHashWebhookLayer, testing::SignedRequest};
use soundhash_webhook_inspector::Inspector;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A delivery as the dispatcher sent it: a body of 303 bytes.
const CAPTURE: &[u8] = include_bytes!("../../../tests/captures/dispatcher-match.found.http");

fn request() -> Request<Body> {
    let start = CAPTURE
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let body = &CAPTURE[start..];
    assert_eq!(body.len(), 303);
    SignedRequest::new(Secret::new("whsec_test"))
        .body(body)
        .header("host", "127.0.0.1:9192")
        .header("x-webhook-event", "match.found")
        .header("user-agent", "SoundHash-Webhook/1.0")
        .header("x-tenant", "acme")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, deflate")
        .build()
}

fn recording(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let handler = service_fn(async |request: Request<Body>| {
        let body = request.into_body().collect().await?.to_bytes();
        Ok::<_, axum::Error>(Response::new(Body::from(body.len().to_string())))
    });
    let verified = SoundHashWebhookLayer::new(Secret::new("whsec_test")).layer(handler);
    let inspector = Inspector::new();
    let mut group = criterion.benchmark_group("303 bytes");
    let mut measure = |name, service: &mut dyn FnMut(Request<Body>)| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(request, &mut *service, BatchSize::SmallInput);
        });
    };
    let mut bare = verified.clone();
    measure("without the inspector", &mut |request| {
        runtime.block_on(send(&mut bare, request));
    });
    let mut inspected = inspector.layer().layer(verified);
    measure("with the inspector", &mut |request| {
        runtime.block_on(send(&mut inspected, request));
    });
}

async fn send<S, B>(service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Error: Debug>,
{
    let service = service.ready().await.expect("ready");
    let response = service.call(request).await.expect("a response");
    black_box(response.into_body().collect().await.expect("a body"));
}

criterion_group!(benches, recording);
criterion_main!(benches);
