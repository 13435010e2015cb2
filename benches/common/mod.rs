//! Shared by the benchmarks: reads the measured times.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Returns the median time in nanoseconds of a benchmark in this run, or `None` if it was not run.
pub(crate) fn nanoseconds(group: &str, name: &str) -> Option<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let path = target.join(format!("criterion/{group}/{name}/new/estimates.json"));
    let estimates: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
