//! Tests the server over real connections.

mod age;
mod files;
mod heads;
#[cfg(feature = "metrics")]
mod metrics;
mod shutdown;
mod slots;
mod support;
