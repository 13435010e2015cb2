//! Tests the code of the telemetry guide, which needs the dependencies of this package.

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/telemetry.md")]
pub struct TelemetryGuide;
