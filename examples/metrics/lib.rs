//! Tests the telemetry guide's code, which needs this package's dependencies.

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/telemetry.md")]
pub struct TelemetryGuide;
