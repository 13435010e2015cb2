//! Replaces `recorder` with no-op functions if the `metrics` feature is off.

pub(crate) fn start_verification(_: &[&str], _: impl Iterator<Item = &'static str>) {}
pub(crate) fn start_idempotency(_: &[&str]) {}
pub(super) fn delivery(_: &str, _: &str, _: &str) {}
pub(super) fn count<V>(_: &str, _: &str, _: V) {}
pub(super) fn increment(_: &str) {}
pub(super) fn record(_: &str, _: f64) {}

pub(super) struct StoreTimer;

impl StoreTimer {
    pub(super) fn start(_: &str, _: &str) -> Self {
        Self
    }
}
