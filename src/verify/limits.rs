//! A layer's settings.

use std::{sync::Arc, time::Duration};

use super::shared::Shared;

/// The maximum timeout. A longer one might end later than an `Instant` can represent.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_body_size: usize,
    pub(super) body_timeout: Duration,
    pub(super) lookup_timeout: Duration,
    pub(super) explain_rejections: bool,
    pub(super) check_responses: bool,
    pub(super) shared: Arc<Shared>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_size: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            lookup_timeout: Duration::from_secs(5),
            explain_rejections: false,
            check_responses: cfg!(debug_assertions),
            shared: Arc::default(),
        }
    }
}
