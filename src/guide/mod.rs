//! Guides: what is not about one type alone.

pub mod placement;
pub mod telemetry;
