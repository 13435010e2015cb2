use std::{
    fmt,
    sync::{
        Arc,
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
use crate::{
    rejection::{Rejection, RejectionKind},
    secret::Secret,
};

/// What a stranger sends, to see what *your* application makes of it.
///
/// Give it to the application with all of its middleware, for each path that receives webhooks. A
/// few deliveries of SoundHash's are among it, since they must not be refused.
///
/// Each request has a name, and knows how it has to be answered and what it means if it is not.
/// `secret` is the one that the application has for these tests.
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
/// The authentic ones are new events of the type `video.processed` and some others, which the
/// handler acts on. None of the requests takes time: bodies that stall are not among them.
///
/// An application that answers refused requests in its own words passes, as long as it keeps the
/// status.
pub fn hostile_requests(secret: &Secret) -> HostileRequests {
    HostileRequests {
        secret: secret.clone(),
        max_body_size: 1024 * 1024,
        cases: CASES.iter(),
    }
}

/// The iterator that [`hostile_requests`] makes.
#[derive(Clone)]
#[must_use]
pub struct HostileRequests {
    secret: Secret,
    max_body_size: usize,
    cases: std::slice::Iter<'static, Case>,
}

impl HostileRequests {
    /// The layer's [`max_body_size`](crate::SoundHashWebhookLayer::max_body_size), where it is
    /// not the default. Bodies of that size are made.
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
    /// Whether somebody read of the last body that was made in frames.
    asked: Arc<AtomicBool>,
}

impl HostileRequest {
    /// What it is, in a few words; no two have the same name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.case.name
    }

    /// The status that it has to be refused with; `None` for one that is authentic, which has to
    /// be answered with any 2xx.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.case.refusal.map(RejectionKind::status)
    }

    /// The request, to that URI. Headers that the application needs can be added to it.
    ///
    /// # Panics
    ///
    /// If it is no URI.
    #[must_use]
    #[track_caller]
    pub fn request<U>(&self, uri: U) -> Request<Body>
    where
        U: TryInto<Uri, Error: fmt::Debug>,
    {
        self.asked.store(false, Ordering::Relaxed);
        (self.case.make)(&RequestFactory {
            secret: &self.secret,
            uri: &uri.try_into().expect("a URI"),
            max_body_size: self.max_body_size,
            asked: &self.asked,
        })
    }

    /// Judges the answer to the [`request`](Self::request) that was made last.
    ///
    /// # Errors
    ///
    /// If it is not the right one: what that means, and what to mend.
    pub fn check<B>(&self, response: &Response<B>) -> Result<(), Failure> {
        let seen = Seen {
            status: response.status(),
            rejection: response.extensions().get().map(Rejection::kind),
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
