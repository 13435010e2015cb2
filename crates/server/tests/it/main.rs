//! Tests of the server with real bytes.

mod age;
mod files;
mod heads;
#[cfg(feature = "metrics")]
mod metrics;
mod places;
mod shutdown;
mod support;
