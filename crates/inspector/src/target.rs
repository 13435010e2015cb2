//! The application that requests are sent to again.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::Request;
use tower::{Service, ServiceExt};

use crate::{Inspector, layer::Inspect};

type Answer = Pin<Box<dyn Future<Output = Option<Response>> + Send>>;

/// The application behind the inspector's layer.
pub(crate) trait Target: Send + Sync {
    /// Sends a request through the inspector's layer and everything inside of it. The answer is
    /// `None` if the application has none.
    fn send(&self, inspector: Inspector, request: Request<Body>) -> Answer;
}

/// A clone of the layer's inner service. A mutex makes it `Sync`, which a service need not be.
pub(crate) struct Application<S>(Mutex<S>);

impl<S> Application<S> {
    pub(crate) fn new(service: S) -> Arc<Self> {
        Arc::new(Self(Mutex::new(service)))
    }
}

impl<S> Target for Application<S>
where
    S: Service<Request<Body>, Response: IntoResponse, Future: Send> + Clone + Send + 'static,
    S::Error: Send,
{
    fn send(&self, inspector: Inspector, request: Request<Body>) -> Answer {
        let service = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let service = Inspect::new(service, inspector);
        Box::pin(async move { service.oneshot(request).await.ok() })
    }
}

/// Marks a request that the inspector sends again.
#[derive(Clone)]
pub(crate) struct Replay {
    /// The number of the record that is sent again; `None` for a sample.
    pub(crate) of: Option<u64>,
    /// Receives the number of the new record.
    pub(crate) number: Arc<std::sync::OnceLock<u64>>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replay").field(&self.of).finish()
    }
}
