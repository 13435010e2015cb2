//! What the benchmarks share: captured events, and what was measured.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde_json::Value;

/// The bodies of all captured requests, by name.
pub(crate) fn captures() -> BTreeMap<String, Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let files = fs::read_dir(folder).expect("the folder of captures");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), body(&path))
        })
        .collect()
}

fn body(path: &PathBuf) -> Bytes {
    let request = Bytes::from(fs::read(path).expect("a captured request"));
    let end = request.windows(4).position(|four| four == b"\r\n\r\n");
    request.slice(end.expect("the end of the head") + 4..)
}

/// The median time of a benchmark of this run, in nanoseconds; `None` if it was not run.
pub(crate) fn nanoseconds(group: &str, name: &str) -> Option<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let path = target.join(format!("criterion/{group}/{name}/new/estimates.json"));
    let estimates: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
