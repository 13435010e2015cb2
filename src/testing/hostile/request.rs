//! The public iterator over the hostile requests, and the response check.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum_core::body::Body;
use http::{Request, Response, StatusCode, Uri};

use super::{
    case::{CASES, Case},
    factory::RequestFactory,
    failure::{Failure, Seen},
};
use crate::{delivery::DeliverySlot, rejection::Rejection, secret::Secret};

/// Returns requests that an attacker could send, to test how *your* application responds to them.
///
/// Send them to your application with all of its middleware, once for each path that receives
/// webhooks. Some of them are authentic deliveries, which the application must accept.
///
/// Each request has a name and an expected response, and [`check`](HostileRequest::check) explains
/// a wrong response. `secret` is the secret that your application uses in the test.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use soundhash_webhook::{Event, Secret, SoundHashWebhookLayer, testing::hostile_requests};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let secret = Secret::new("whsec_test");
/// let app: Router = Router::new()
///     .route("/webhooks/soundhash", post(|_: Event| async { StatusCode::OK }))
///     .layer(SoundHashWebhookLayer::new(&secret));
///
/// for hostile in hostile_requests(&secret) {
///     let request = hostile.request("/webhooks/soundhash");
///     let response = app.clone().oneshot(request).await.unwrap();
///     hostile.check(&response).unwrap();
/// }
/// # }
/// ```
///
/// The authentic requests are new events, mostly of type `video.processed`, and your handler runs
/// for each of them. Slow requests, such as bodies that stall, are not included.
///
/// Your application can change the text of rejections, but must keep the status.
///
/// # Replays to other routes
///
/// The signature covers only the body, so an attacker can send a recorded delivery to another
/// route. If the layers also wrap that route, a 2xx from it makes an
/// [`IdempotencyLayer`](crate::idempotency::IdempotencyLayer) mark the event as completed, and your
/// handler never gets it. This affects only routes that accept POST, because the `IdempotencyLayer`
/// responds with 405 to every other method.
///
/// The requests named `replayed as GET …` and `replayed as POST …` go to `/`, `/health`, `/healthz`
/// and `/status`, and a GET also goes to the given path. The check fails if the layer verifies one
/// of them and the response is a 2xx, because the layer then wraps more than the webhook's route.
/// It learns this through the request's extensions, so it cannot tell if a middleware drops them or
/// if you send the requests over a connection.
///
/// # Redirects
///
/// SoundHash follows redirects, usually with a GET that has no body, and records the status of the
/// final page, so the event counts as delivered but is lost. Two authentic requests therefore go to
/// URLs that could be registered by mistake: the given path with its trailing slash added or
/// removed, and a path that does not exist. Any response passes except a redirect, and a 2xx to a
/// request that no layer verified. Over a connection, each 2xx to one of these two fails, because the
/// check cannot see the layer.
pub fn hostile_requests(secret: &Secret) -> HostileRequests {
    HostileRequests {
        secret: secret.clone(),
        max_body_size: 1024 * 1024,
        cases: CASES.iter(),
    }
}

/// The iterator that [`hostile_requests`] returns.
#[derive(Clone)]
#[must_use]
pub struct HostileRequests {
    secret: Secret,
    max_body_size: usize,
    cases: std::slice::Iter<'static, Case>,
}

impl HostileRequests {
    /// Sets the [`max_body_size`](crate::SoundHashWebhookLayer::max_body_size) of your layer if it
    /// is not the default. Some requests have a body of that size.
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.max_body_size = bytes;
        self
    }
}

impl Iterator for HostileRequests {
    type Item = HostileRequest;

    fn next(&mut self) -> Option<HostileRequest> {
        Some(HostileRequest {
            case: self.cases.next()?,
            secret: self.secret.clone(),
            max_body_size: self.max_body_size,
            asked: Arc::default(),
            delivery: Mutex::default(),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cases.size_hint()
    }
}

impl ExactSizeIterator for HostileRequests {}

impl fmt::Debug for HostileRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileRequests")
            .field("max_body_size", &self.max_body_size)
            .finish_non_exhaustive()
    }
}

/// One of the [`hostile_requests`].
pub struct HostileRequest {
    case: &'static Case,
    secret: Secret,
    max_body_size: usize,
    /// Whether the body of the last request was read. Tracked only for multi-frame bodies.
    asked: Arc<AtomicBool>,
    /// Contains the delivery of the last request if the layer verified it.
    delivery: Mutex<DeliverySlot>,
}

impl HostileRequest {
    /// Returns a short, unique description of the request.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.case.name
    }

    /// Returns the expected status, or `None` if any 2xx is acceptable.
    ///
    /// For a replay to another route, this returns 405, but [`check`](Self::check) accepts
    /// everything except a 2xx response to a request that the layer verified. For a path that was
    /// registered by mistake, this returns 404, but `check` accepts any response except a redirect and
    /// a 2xx to a request that no layer verified.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.case.expected.status()
    }

    /// Returns the request, addressed to `uri`. Add the headers that your application needs.
    ///
    /// # Panics
    ///
    /// Panics if `uri` is not a valid URI.
    #[must_use]
    #[track_caller]
    pub fn request<U>(&self, uri: U) -> Request<Body>
    where
        U: TryInto<Uri, Error: fmt::Debug>,
    {
        self.asked.store(false, Ordering::Relaxed);
        let mut request = (self.case.make)(&RequestFactory {
            secret: &self.secret,
            uri: &uri.try_into().expect("a URI"),
            max_body_size: self.max_body_size,
            asked: &self.asked,
        });
        let slot = DeliverySlot::default();
        request.extensions_mut().insert(slot.clone());
        *self.delivery() = slot;
        request
    }

    fn delivery(&self) -> MutexGuard<'_, DeliverySlot> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the response to the last [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// Returns an error if the response is wrong. The error explains what that means and how to fix
    /// the application.
    pub fn check<B>(&self, response: &Response<B>) -> Result<(), Failure> {
        let seen = Seen {
            status: response.status(),
            rejection: response.extensions().get().map(Rejection::kind),
            verified: self.delivery().get().is_some(),
            asked: self.asked.load(Ordering::Relaxed),
        };
        Failure::of(self.case, &seen)
    }
}

impl fmt::Debug for HostileRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostileRequest")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
