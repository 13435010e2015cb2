//! The metric names, and the label values for accepted requests and for events without a known
//! type.

pub(super) const DELIVERIES: &str = "soundhash_webhook_deliveries_total";
pub(super) const UNRECOGNIZED: &str = "soundhash_webhook_unrecognized_total";
pub(super) const UNKNOWN_FIELDS: &str = "soundhash_webhook_unknown_fields_total";
pub(super) const MATCHED_SECRET: &str = "soundhash_webhook_matched_secret_total";
pub(super) const BODY_BYTES: &str = "soundhash_webhook_body_bytes";
pub(super) const BODY_WAIT: &str = "soundhash_webhook_body_wait_seconds";
pub(super) const VERIFICATION: &str = "soundhash_webhook_verification_seconds";
pub(super) const CANCELED: &str = "soundhash_webhook_handlers_canceled_total";
pub(super) const FAILED: &str = "soundhash_webhook_handlers_failed_total";
pub(super) const SKIPPED: &str = "soundhash_webhook_handlers_skipped_total";
pub(super) const LEASE_LOST: &str = "soundhash_webhook_lease_lost_total";
pub(super) const NOT_RECORDED: &str = "soundhash_webhook_not_recorded_total";
pub(super) const STORE_ERRORS: &str = "soundhash_webhook_store_errors_total";
pub(super) const STORE: &str = "soundhash_webhook_store_seconds";

/// The value of the outcome label for verified requests.
pub(super) const ACCEPTED: &str = "accepted";
/// The value of the event type label for rejected requests and for bodies that are not events.
pub(super) const NO_TYPE: &str = "none";
/// The value of the event type label for every type that this version does not know. The names of
/// such types are not used, because a sender could then add a time series with every request.
pub(super) const OTHER_TYPE: &str = "other";
