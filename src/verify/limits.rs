//! The limits of a layer, and the state that its requests share.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::request;
use tokio::sync::Semaphore;

use super::{budget::Budget, response::ResponseCheck};
use crate::telemetry::RejectionLog;

/// The maximum timeout. The end of a longer one might be later than an `Instant` can represent.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The number of rejected bodies that a layer drains at the same time. It is small because each can
/// grow the server's read buffer to 408 KiB.
const MAX_DRAINS: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_body_size: usize,
    pub(super) body_timeout: Duration,
    pub(super) lookup_timeout: Duration,
    pub(super) explain_rejections: bool,
    pub(super) check_responses: bool,
    /// Whether the layer has already logged a response that SoundHash cannot decode.
    pub(super) response_logged: Arc<AtomicBool>,
    pub(super) budget: Arc<Budget>,
    pub(super) rejections: Arc<RejectionLog>,
    /// Has one permit for each body that may be drained at the same time.
    pub(super) drains: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_size: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            lookup_timeout: Duration::from_secs(5),
            explain_rejections: false,
            check_responses: cfg!(debug_assertions),
            response_logged: Arc::default(),
            budget: Budget::new(32 * 1024 * 1024),
            drains: Arc::new(Semaphore::new(MAX_DRAINS)),
            rejections: Arc::default(),
        }
    }
}

impl Limits {
    #[inline]
    pub(super) fn response_check(&self, head: &request::Parts) -> Option<Box<ResponseCheck>> {
        let checks = cfg!(feature = "tracing") && self.check_responses;
        let path = head.uri.path();
        checks.then(|| ResponseCheck::new(&self.response_logged, path))?
    }
}
