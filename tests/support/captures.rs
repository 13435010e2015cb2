//! Reads the recorded requests in `tests/captures`.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;

/// Returns every recorded request, byte for byte, keyed by its name.
pub fn requests() -> BTreeMap<String, Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let files = fs::read_dir(folder).expect("the folder of captures");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            let request = fs::read(&path).expect("a recorded request");
            (name.into_owned(), request.into())
        })
        .collect()
}

/// Returns the body of every recorded request, keyed by its name.
pub fn bodies() -> BTreeMap<String, Bytes> {
    let mut requests = requests();
    for request in requests.values_mut() {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        *request = request.slice(end.expect("the end of the head") + 4..);
    }
    requests
}
