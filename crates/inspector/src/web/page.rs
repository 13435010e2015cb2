//! The state shared by the handlers.

use tokio_util::sync::CancellationToken;

use crate::Inspector;

#[derive(Clone)]
pub(super) struct Page {
    pub(super) inspector: Inspector,
    /// Ends the live updates when the inspector's own server stops.
    pub(super) stop: CancellationToken,
}
