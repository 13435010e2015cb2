//! The application, which receives the requests that the inspector sends again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::Request;
use tower::{Service, ServiceExt, util::BoxCloneService};

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

/// Marks a request that the inspector sends through the application.
#[derive(Clone)]
pub(crate) struct Replay {
    /// The number of the record being sent again, or `None` for a sample.
    pub(crate) of: Option<u64>,
    /// Receives the number of the new record.
    pub(crate) number: Arc<OnceLock<u64>>,
}
