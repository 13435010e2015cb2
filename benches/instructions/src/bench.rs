//! `benches/instructions/check`
//!
//! Counts the instructions per request, which do not depend on the machine's load. Each limit is 5%
//! above the last reviewed count, so that a slowdown is noticed. Valgrind does not emulate the SHA
//! instructions, so hashing dominates the count for an accepted request. A rejected request is not
//! hashed, so its count shows changes in the rest of the layer more clearly.

#![allow(
    clippy::must_use_candidate,
    missing_docs,
    unused_qualifications,
    reason = "what the macros of `gungraun` make"
)]

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum_core::{body::Body, extract::Request, response::Response};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use soundhash_webhook::{Event, SIGNATURE_HEADER, Secret, SoundHashWebhook, SoundHashWebhookLayer};
use tower::{Layer, Service, service_fn};

const ACCEPTED: u64 = 25_641;
const PARSED: u64 = 9_681;
const UNSIGNED: u64 = 2_600;

const SECRET: &str = "whsec_test";

/// Returns a captured event.
fn event() -> &'static [u8] {
    let capture = include_bytes!("../../../tests/captures/dispatcher-match.found.http");
    &capture[capture.len() - 303..]
}

fn limit(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions * 105 / 100)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

fn service() -> SoundHashWebhook<
    impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone,
> {
    let inner = service_fn(async |request: Request| {
        black_box(request);
        Ok(Response::new(Body::empty()))
    });
    SoundHashWebhookLayer::new(SECRET).layer(inner)
}

/// Returns a service that has already handled one request, along with a new request.
fn with<S>(mut service: S, signature: bool) -> (S, Request)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    drop(answer(&mut service, request(signature)));
    (service, request(signature))
}

fn request(signature: bool) -> Request {
    let mut request = Request::post("/webhooks/soundhash").header("content-length", 303);
    if signature {
        request = request.header(SIGNATURE_HEADER, Secret::new(SECRET).sign(event()));
    }
    request.body(Body::from(event())).expect("a request")
}

fn answer<S>(service: &mut S, request: Request) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("nothing here has to wait"),
    }
}

#[library_benchmark]
#[bench::accepted_of_303_bytes(args = (with(service(), true)), config = limit(ACCEPTED))]
#[bench::unsigned(args = (with(service(), false)), config = limit(UNSIGNED))]
fn request_of<S>((mut service, request): (S, Request)) -> (S, Response)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let response = answer(&mut service, request);
    (service, response)
}

#[library_benchmark]
#[bench::of_303_bytes(args = (event()), config = limit(PARSED))]
fn parse(body: &[u8]) -> Option<Event> {
    Event::from_slice(black_box(body)).ok()
}

library_benchmark_group!(name = delivery, benchmarks = [request_of, parse]);
main!(library_benchmark_groups = delivery);
