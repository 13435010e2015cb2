//! The state that all clones of a layer share, even if their settings differ.

use std::sync::{Arc, atomic::AtomicBool};

use tokio::sync::Semaphore;

use super::{budget::Budget, copies::Copies};
use crate::telemetry::RejectionLog;

/// The number of rejected bodies that a layer drains at a time. It is small because each body can
/// grow the server's read buffer to the size given in `budget`.
const MAX_DRAINS: usize = 16;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) budget: Arc<Budget>,
    /// Holds one permit for each body that may be drained at the same time.
    pub(super) drains: Arc<Semaphore>,
    pub(super) copies: Arc<Copies>,
    pub(super) rejections: RejectionLog,
    /// Whether the layer has already logged a response that SoundHash cannot decode.
    pub(super) response_logged: Arc<AtomicBool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            budget: Arc::default(),
            drains: Arc::new(Semaphore::new(MAX_DRAINS)),
            copies: Arc::default(),
            rejections: RejectionLog::default(),
            response_logged: Arc::default(),
        }
    }
}
