//! Each event once: the layer, the stores, and a fleet of processes.

mod age;
mod answers;
mod endings;
#[cfg(feature = "redis")]
mod fleet;
mod keys;
#[cfg(feature = "metrics")]
mod metered;
mod model;
#[cfg(feature = "redis")]
mod redis;
mod stores;
mod support;
