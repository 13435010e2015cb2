//! The application, which receives the requests that the inspector sends again.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, OriginalUri},
    response::{IntoResponse, Response},
};
use http::Request;
use tower::{Service, ServiceExt, service_fn, util::BoxCloneService};

type Inner = BoxCloneService<Request<Body>, Response, ()>;

/// A clone of the service inside the inspector's layer. The mutex makes it `Sync`, because not
/// every service is.
#[derive(Clone)]
pub(crate) struct Application(Arc<Mutex<Inner>>);

impl Application {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response: IntoResponse, Future: Send> + Clone + Send + 'static,
    {
        let service = service.map_response(IntoResponse::into_response);
        Self(Arc::new(Mutex::new(Inner::new(service.map_err(drop)))))
    }

    pub(crate) fn service(&self) -> Inner {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What axum's router knew about a request. The application is often only a route of that router, so
/// a replay has to be routed again.
#[derive(Clone)]
pub(crate) struct Route {
    path: Option<MatchedPath>,
    /// The path and query before a nested router removed its prefix from them.
    original: Option<Box<str>>,
}

/// The maximum length of an original path and query. Attackers can choose them.
const MAX_ORIGINAL: usize = 1024;

impl Route {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let uri = request.uri().path_and_query();
        let original = (request.extensions().get::<OriginalUri>())
            .and_then(|original| original.path_and_query())
            .filter(|original| Some(*original) != uri && original.as_str().len() <= MAX_ORIGINAL);
        Self {
            path: request.extensions().get().cloned(),
            original: original.map(|it| it.as_str().into()),
        }
    }

    /// Returns the memory used on the heap, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.original.as_ref().map_or(0, |it| it.len())
    }

    /// Sends a request through axum's router again, which then inserts what extractors such as
    /// `Path` need, and to the service.
    pub(crate) async fn call<S>(
        &self,
        mut request: Request<Body>,
        service: impl Fn() -> S + Clone + Send + Sync + 'static,
    ) -> Response
    where
        S: Service<Request<Body>, Response = Response, Error = (), Future: Send> + Send + 'static,
    {
        let uri = request.uri().clone();
        if let Some(Ok(original)) = self.original.as_ref().map(|it| it.parse()) {
            *request.uri_mut() = original;
        }
        let route = service_fn(move |mut request: Request<Body>| {
            *request.uri_mut() = uri.clone();
            let response = service().oneshot(request);
            async move { Ok::<_, Infallible>(response.await.unwrap_or_default()) }
        });
        let mut router = Router::new().without_v07_checks();
        if let Some(path) = &self.path {
            router = router.route_service(path.as_str(), route.clone());
        }
        let Ok(response) = router.fallback_service(route).oneshot(request).await;
        response
    }
}

/// Marks a request that the inspector sends through the application.
#[derive(Clone)]
pub(crate) struct Replay {
    /// The number of the record being sent again, or `None` for a sample.
    pub(crate) of: Option<u64>,
    /// Receives the number of the new record.
    pub(crate) number: Arc<OnceLock<u64>>,
}
