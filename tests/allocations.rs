//! Counts the layer's allocations and copies. Unlike timings, these counts are the same on every
//! machine, so tests can assert them. The feature `metrics` has to be off, because its allocations
//! are not part of the expected counts.

#![cfg(not(feature = "metrics"))]

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use soundhash_webhook::{
    Delivery, Rejection, SIGNATURE_HEADER, Secret, SoundHashWebhookLayer,
    idempotency::{Claim, IdempotencyStore, Key, MemoryStore},
};
use tower::{Layer, Service, layer::util::Identity, service_fn};

use soundhash_webhook_tests::frames::frames;

const SECRET: &str = "whsec_test";

/// Returns the layer as it is in a release build, where it does not check responses.
fn layer() -> SoundHashWebhookLayer {
    SoundHashWebhookLayer::new(SECRET).check_responses(false)
}

fn signed(bytes: &Bytes, body: Body) -> Request<Body> {
    Request::post("/")
        .header(SIGNATURE_HEADER, Secret::new(SECRET).sign(bytes))
        .body(body)
        .expect("a request")
}

/// Returns a service whose response holds the [`Delivery`], as a response body would.
fn inner()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(async |mut request: Request<Body>| {
        let mut response = Response::new(Body::empty());
        *response.extensions_mut() = std::mem::take(request.extensions_mut());
        Ok(response)
    })
}

/// Sends a request, and counts the allocations made to respond to it. A warm-up request triggers
/// the one-time allocations first.
#[track_caller]
fn count<S>(
    mut service: S,
    mut request: impl FnMut() -> Request<Body>,
) -> (AllocationInfo, Response<Body>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut response = None;
    let mut allocated = AllocationInfo::default();
    for _ in 0..2 {
        let request = request();
        allocated = measure(|| response = Some(ready(service.call(request))));
    }
    let Ok(response) = response.expect("a response");
    (allocated, response)
}

#[track_caller]
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here has to wait"),
    }
}

/// Returns an event of 303 bytes, a typical length.
fn event() -> Bytes {
    Bytes::from(vec![b'x'; 303])
}

#[test]
fn an_accepted_request_costs_three_allocations_of_the_layer_itself() {
    let event = event();
    let request = || {
        let mut request = signed(&event, Body::from(event.clone()));
        // A server or router has usually inserted an extension already. Without one, `http` would
        // make two allocations for the map here.
        request.extensions_mut().insert(());
        request
    };
    let (bare, _) = count(inner(), request);
    let (layered, response) = count(layer().layer(inner()), request);
    assert!(response.extensions().get::<Delivery>().is_some());
    // The three allocations are for the new body, the delivery, and its handle in the extensions.
    assert_eq!(layered.count_total - bare.count_total, 3);
}

#[test]
fn an_accepted_request_in_a_router_costs_four_allocations() {
    let event = event();
    let request = || signed(&event, Body::from(event.clone()));
    let router: Router = Router::new().route("/", post(async |_: Bytes| ()));
    let (bare, _) = count(router.clone().layer(Identity::new()), request);
    let (layered, response) = count(router.layer(layer()), request);
    assert_eq!(response.status(), StatusCode::OK);
    // The fourth allocation is for a clone of the route.
    assert_eq!(layered.count_total - bare.count_total, 4);
}

#[test]
fn a_rejection_allocates_only_its_response() {
    let event = event();
    let request = || Request::new(Body::from(event.clone()));
    let (rejected, response) = count(layer().layer(inner()), request);
    let rejection = response.extensions().get::<Rejection>().expect("rejected");

    let by_hand = measure(|| {
        let mut response = Response::new(Body::from("Invalid signature"));
        *response.status_mut() = rejection.status();
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
        let challenge = HeaderValue::from_static("HMAC-SHA256");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
        response.extensions_mut().insert(rejection.clone());
    });
    assert_eq!(rejected.count_total, by_hand.count_total);
}

#[test]
fn a_body_of_one_frame_is_not_copied() {
    for length in [1, 303, 1024 * 1024] {
        let bytes = Bytes::from(vec![b'x'; length]);
        let request = || signed(&bytes, Body::from(bytes.clone()));
        let (allocated, response) = count(layer().layer(inner()), request);
        let delivery = response.extensions().get::<Delivery>().expect("accepted");
        assert_eq!(delivery.body().as_ptr(), bytes.as_ptr());
        assert!(allocated.bytes_total < 1024, "{allocated:?}");
    }
}

/// Returns the allocations made to receive a body of `length` bytes in frames of `frame` bytes.
#[track_caller]
fn allocated(length: usize, frame: usize) -> AllocationInfo {
    let bytes = Bytes::from(vec![b'x'; length]);
    let request = || signed(&bytes, frames(&bytes, frame));
    let (allocated, response) = count(layer().layer(inner()), request);
    let delivery = response.extensions().get::<Delivery>().expect("accepted");
    assert_eq!(delivery.body(), &bytes);
    allocated
}

#[test]
fn each_byte_of_several_frames_is_copied_once() {
    const MIB: u64 = 1024 * 1024;
    let allocated = allocated(1024 * 1024, 16 * 1024);
    // The bytes are allocated once for the whole body. The rest is for the list of 63 frames, which
    // is reallocated as it grows.
    assert!(
        (MIB..MIB + 8 * 1024).contains(&allocated.bytes_total),
        "{allocated:?}"
    );
    assert!(allocated.bytes_max < MIB + 4 * 1024, "{allocated:?}");
}

/// Growing or rebuilding a table moves all of its events, and every claim has to wait in the
/// meantime.
#[test]
fn a_memory_store_never_moves_its_events() {
    const CAPACITY: usize = 10_000;
    const HOUR: Duration = Duration::from_secs(3600);
    let store = MemoryStore::new(CAPACITY);
    for number in 0..10 * CAPACITY {
        let key = Key::new(&number.to_string());
        let allocated = measure(|| {
            let Ok(Claim::Acquired(token)) = ready(store.claim(&key, HOUR)) else {
                panic!("claimed before");
            };
            assert!(ready(store.complete(&key, token, HOUR)).expect("a result"));
        });
        assert!(allocated.bytes_max < 1024, "{number}: {allocated:?}");
    }
}

#[test]
fn small_frames_cost_in_proportion_to_what_arrived() {
    // The allocations are for the whole body and for a list of frames, which doubles as it grows.
    let few = allocated(1000, 10);
    assert!(few.bytes_max < 8 * 1024, "{few:?}");
    assert!(few.count_total < 16, "{few:?}");
}
