//! The state shared by the handlers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Inspector;

#[derive(Clone)]
pub(super) struct Page {
    pub(super) inspector: Inspector,
    /// Identifies this process, so that pages loaded from an earlier process do not mix up record
    /// numbers.
    pub(super) instance: Arc<str>,
    /// Ends the live updates when the inspector's own server stops.
    pub(super) stop: CancellationToken,
}
